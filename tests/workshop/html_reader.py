"""A page as a browser would take it apart."""

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "hr"}


class Reader(HTMLParser):
    """Checks that elements close in the order they were opened, and collects what is there."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.data = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        (self.data if self.open[-1:] == ["script"] else self.text).append(data)
