"""What fairseq2 would build a recipe's model from: nothing is built or loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from fairseq2.assets import AssetCard, AssetStore
from fairseq2.models import ModelFamily
from fairseq2.recipe.config import ModelSection, ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver
from fairseq2.utils.config import StandardConfigMerger
from fairseq2.utils.structured import StandardValueConverter

from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.toolkits.fairseq2.schema import check_section

_FAMILY: type[ModelFamily] = ModelFamily


def model_config(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> tuple[ModelFamily, Any]:
    """The family of a section's model, and its configuration with the section's overrides.

    A path goes before a name, and a name before a family.

    Raises:
        ConfigError: family, architecture, name or an override is not known.
    """
    if section.path is None and section.name is not None:
        card = model_card(f"{key}.name", section.name, resolver)
        family = resolver.resolve(_FAMILY, key=card.field("model_family").as_(str))
        config = family.get_model_config(card)
    else:
        families = {str(name) for name in resolver.iter_keys(_FAMILY)}
        if section.family not in families:
            raise ConfigError(
                f"{key}.family",
                f"'{section.family}' is not a model family; "
                f"{did_you_mean(section.family, families)}",
            )
        family = resolver.resolve(_FAMILY, key=section.family)
        config = family.config_kls()
        if section.arch is not None:
            config = family.maybe_get_arch_config(section.arch)
        if config is None:
            raise ConfigError(
                f"{key}.arch", f"'{section.arch}' is not an architecture of {section.family}"
            )
    if section.config_overrides is None:
        return family, config
    if dataclasses.is_dataclass(family.config_kls):
        check_section(section.config_overrides, family.config_kls, f"{key}.config_overrides")
    converter = StandardValueConverter()
    overrides = cast("Mapping[str, object]", section.config_overrides)
    merged = StandardConfigMerger().merge(converter.unstructure(config), overrides)
    return family, converter.structure(merged, family.config_kls)


def model_card(key: str, name: str, resolver: DependencyResolver) -> AssetCard:
    """The card of a model that fairseq2 knows by name.

    Raises:
        ConfigError: it knows none of that name.
    """
    card = resolver.resolve(AssetStore).maybe_retrieve_card(name)
    if card is None or card.maybe_get_field("model_family") is None:
        raise ConfigError(key, f"'{name}' is not the name of a model that fairseq2 knows")
    return card
