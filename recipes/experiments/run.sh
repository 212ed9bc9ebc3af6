#!/bin/sh
# Everything behind docs/experiments, from nothing: corpus, teachers, students, caches, studies.
#
#   recipes/experiments/run.sh                     all of it, many hours on two cores
#   recipes/experiments/run.sh beta proxy          the tables that are named, and what they need
#   OVER=recipes/experiments/on_a_gpu recipes/experiments/run.sh     larger models, more steps
#   PAIR=en_cs recipes/experiments/run.sh recommended     another pair, in runs/en_cs
#
# Run it where runs/ may be written. Interrupted, it goes on where it was; what is finished stays.
set -eu

SEKD=${SEKD:-sekd}
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${OVER:-}" ]; then OVER=$(cd "$OVER" && pwd); fi
runs=runs/experiments
top_k=64

pair=${PAIR:-en_de}
case $pair in
    en_de) corpus=en-de swap='' template='English to German: {source}' ;;
    de_en) corpus=en-de swap=--swap template='German to English: {source}' ;;
    en_cs) corpus=en-cs swap='' template='English to Czech: {source}' ;;
    cs_en) corpus=en-cs swap=--swap template='Czech to English: {source}' ;;
    *) echo "run.sh: PAIR is '$pair'; there are en_de, de_en, en_cs and cs_en" >&2; exit 2 ;;
esac
if [ "$pair" != en_de ]; then mkdir -p "runs/$pair"; cd "runs/$pair"; fi

over() {    # --over FILE …, where larger settings or another pair are asked for
    files="${OVER:+$OVER/$1}"
    if [ "$pair" != en_de ]; then files="$files $here/pairs/$pair.yaml"; fi
    if [ -n "$files" ]; then echo "--over $files"; fi
}

if [ ! -e "$runs/corpus/report.json" ]; then
    $SEKD prepare "$runs/corpus" \
        --train "$here/../corpus/$corpus/train.jsonl" \
        --valid "$here/../corpus/$corpus/valid.jsonl" \
        --test "$here/../corpus/$corpus/test.jsonl" \
        $swap --vocabulary-size 4000 --template "$template
"
fi

teachers=clean
case " $* " in *noisy_teacher*) teachers=all ;; "  ") teachers=all ;; esac
# shellcheck disable=SC2046
if [ $teachers = all ]; then
    $SEKD sweep "$here/teachers.yaml" "$runs/teachers" $(over teachers.yaml)
else
    $SEKD sweep "$here/teachers.yaml" "$runs/teachers" $(over teachers.yaml) --only clean
fi
students=student
case " $* " in *" smaller "* | "  ") students="$students smaller" ;; esac
case " $* " in *" larger "* | "  ") students="$students larger" ;; esac
# shellcheck disable=SC2046,SC2086
$SEKD sweep "$here/students.yaml" "$runs/students" $(over students.yaml) --only $students

cache() {   # cache NAME TEACHER [NOISE]: the teacher's likeliest words over the training pairs
    noise=${3:+, noise: {misaligned: $3, seed: 1\}}
    last=$(find "$runs/teachers/runs/$2/seed_1/checkpoints" -maxdepth 1 -name 'step_*' | sort -t_ -k2 -V | tail -n 1)
    $SEKD cache-teacher "$runs/caches/$1" --config-file "${OVER:-$here}/cache.yaml" --top-k $top_k --config \
        "teacher.path=$last/model" "dataset.train=[{path: $runs/corpus/train.jsonl$noise}]" \
        "dataset.template=\"$template\\n\""
}

cache clean clean
for share in 0.15 0.3 0.5; do
    case " $* " in *"${share}_clean_teacher"* | "  ")
        cache "misaligned_${share}_clean_teacher" clean $share ;;
    esac
    case " $* " in *"${share}_noisy_teacher"* | "  ")
        cache "misaligned_${share}_noisy_teacher" "misaligned,train=$share" $share ;;
    esac
done

# The picture of the difficulties, early and late.
student="$runs/students/runs/student/seed_1"
$SEKD analyze "$runs/difficulty" --run "$student@step_600" --run "$student@step_1800" \
    --teacher "$runs/teachers/runs/clean/seed_1"

# shellcheck disable=SC2046,SC2086
$SEKD sweep "$here/studies.yaml" "$runs/studies" $(over studies.yaml) ${*:+--table "$@"}
