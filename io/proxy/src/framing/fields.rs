//! Field lines in one run of bytes, and where each stands in it; for heads and trailers of either version of HTTP.

use std::ops::Range;

use tidegate_traffic::HeaderLines;

use super::lines::Kind;
use super::scan::LinePlace;

/// Where something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    at: u32,
    len: u32,
}

impl Span {
    /// From `at`, so many bytes. Heads are far smaller than 4 GiB.
    pub fn new(at: usize, len: usize) -> Span {
        Span { at: at as u32, len: len as u32 }
    }

    fn range(self) -> Range<usize> {
        self.at as usize..self.at as usize + self.len as usize
    }
}

/// Where text stands, in the one list that holds it: made of text only, so that it is not checked again whenever it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSpan(Span);

impl TextSpan {
    /// Where nothing but ASCII stands.
    pub(super) fn of_ascii(span: Span) -> TextSpan {
        TextSpan(span)
    }

    /// Where a part of `whole` stands in it.
    pub fn within(whole: &[u8], part: &str) -> TextSpan {
        let at = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let lies_within = at <= whole.len() && part.len() <= whole.len() - at;
        debug_assert!(lies_within, "a part lies within the whole");
        if lies_within { TextSpan(Span::new(at, part.len())) } else { TextSpan::default() }
    }
}

/// One line, in as few bytes as may be: whoever looks for one looks at all.
#[derive(Clone, Copy, Debug)]
struct Line {
    name_at: u32,
    value: Span,
    name_len: u16,
    kind: Kind,
    /// Whether it is written as the proxy would: one space before the value, none behind it.
    tidy: bool,
}

impl Line {
    fn name(&self) -> TextSpan {
        TextSpan(Span { at: self.name_at, len: self.name_len.into() })
    }
}

/// Field lines, and the bytes that hold them and whatever else belongs to a head.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

impl Fields {
    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    /// Bytes of memory held.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.lines.capacity() * size_of::<Line>()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no lines.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds bytes that belong to no line.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Span {
        self.bytes.extend_from_slice(bytes);
        Span::new(self.bytes.len() - bytes.len(), bytes.len())
    }

    /// Adds text that belongs to no line.
    pub fn push_text(&mut self, text: &str) -> TextSpan {
        TextSpan(self.push_bytes(text.as_bytes()))
    }

    /// Adds text of nothing but ASCII that belongs to no line.
    pub(super) fn push_ascii(&mut self, text: &[u8]) -> TextSpan {
        debug_assert!(text.is_ascii());
        TextSpan(self.push_bytes(text))
    }

    /// Adds a line. The name is a token (one that is not even ASCII, or has 64 KiB, is left out) and the value has no control
    /// characters but tabs.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name_len), true) = (u16::try_from(name.len()), name.is_ascii()) else { return };
        self.bytes.reserve(name.len() + value.len() + 4);
        let name_at = self.push_bytes(name).at;
        self.bytes.extend_from_slice(b": ");
        let value = self.push_bytes(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.lines.push(Line { name_at, value, name_len, kind: Kind::of(name), tidy: true });
    }

    /// Adds lines that stand in one piece, each as HTTP/1 writes it: `run`, and what its lines are, in their order. False if
    /// one is not as [`push`](Self::push) wants it; the list then has no lines.
    #[must_use]
    pub fn push_run<'l>(
        &mut self,
        run: &[u8],
        mut lines: impl Iterator<Item = (&'l [u8], &'l [u8])>,
    ) -> bool {
        let mut at = self.push_bytes(run).at as usize;
        let end = self.bytes.len();
        let all_fit = lines.all(|(name, value)| {
            let (name_at, value_at) = (at, at + name.len() + 2);
            at = value_at + value.len() + 2;
            let Ok(name_len) = u16::try_from(name.len()) else { return false };
            self.lines.push(Line {
                name_at: name_at as u32,
                value: Span::new(value_at, value.len()),
                name_len,
                kind: Kind::of(name),
                tidy: true,
            });
            at <= end && self.bytes[name_at..].starts_with(name) && name.is_ascii()
        });
        let is_sound = all_fit && at == end;
        if !is_sound {
            self.lines.clear();
        }
        is_sound
    }

    /// Names a line of a head of at most 64 KiB, which is the first that is added to the bytes, after all its lines; the
    /// name is a token.
    pub(super) fn place(&mut self, line: LinePlace, kind: Kind) {
        self.lines.push(Line {
            name_at: line.name as u32,
            value: Span::new(line.value, line.value_end - line.value),
            name_len: (line.colon - line.name) as u16,
            kind,
            tidy: line.tidy,
        });
    }

    /// Whether a line has no white space around its value but the usual one, so that it may be copied as it is (RFC 9110
    /// section 5.6.3).
    pub fn is_tidy(&self, index: usize) -> bool {
        self.lines.get(index).is_some_and(|line| line.tidy)
    }

    /// What stands there.
    pub fn at(&self, span: Span) -> &[u8] {
        &self.bytes[span.range()]
    }

    /// The text that stands there. `span` is this list's own, since it was last cleared.
    pub(super) fn text(&self, span: TextSpan) -> &str {
        let bytes = self.at(span.0);
        debug_assert!(std::str::from_utf8(bytes).is_ok(), "a span of another list");
        // SAFETY: a `TextSpan` is only made of a `&str`, or of ASCII, that stands in the bytes of this list: names and methods
        // are tokens, hosts are authorities, plain paths and queries are URIs, and phrases are looked through. Bytes are added
        // behind others and never changed. Spans are kept beside their list only, by heads and by the lines here.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    /// Kind, name and value of a line.
    pub fn entry(&self, index: usize) -> Option<(Kind, &str, &[u8])> {
        let line = self.lines.get(index)?;
        Some((line.kind, self.text(line.name()), self.at(line.value)))
    }

    /// Which kind a line is.
    pub fn kind(&self, index: usize) -> Option<Kind> {
        self.lines.get(index).map(|line| line.kind)
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|line| (self.text(line.name()), self.at(line.value)))
    }

    /// Lines as HTTP/1 writes them, each with its line break, in one piece. The last is tidy.
    pub fn run(&self, range: Range<usize>) -> &[u8] {
        match self.lines.get(range).map(|lines| (lines.first(), lines.last())) {
            Some((Some(first), Some(last))) => {
                let end = last.value.range().end + 2;
                self.bytes.get(first.name_at as usize..end).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The value of the first line of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let same = |line: &&Line| {
            usize::from(line.name_len) == name.len()
                && self.at(line.name().0).eq_ignore_ascii_case(name.as_bytes())
        };
        self.lines.iter().find(same).map(|line| self.at(line.value))
    }
}

impl HeaderLines for Fields {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        let line = self.lines.get(index)?;
        Some((self.text(line.name()), self.at(line.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are found by name in any case, and a run of them is what HTTP/1 writes.
    #[test]
    fn lines_and_runs() {
        let mut fields = Fields::default();
        fields.push_bytes(b"GET");
        for (name, value) in [("A", "1"), ("b", "2"), ("a", "3")] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(fields.get("B"), Some(b"2".as_slice()));
        assert_eq!(fields.get("c"), None);
        assert_eq!(fields.run(1..3), b"b: 2\r\na: 3\r\n");
        assert_eq!((fields.run(1..1), fields.run(2..9)), (b"".as_slice(), b"".as_slice()));
        assert_eq!(fields.lines().last(), Some(("a", b"3".as_slice())));
        fields.clear();
        assert!(fields.is_empty() && fields.bytes.is_empty());
    }

    /// Lines in one piece are those that they would be one by one; a piece that is not what its lines say is refused.
    #[test]
    fn lines_in_one_piece() {
        let lines = || [(&b"a"[..], &b"1"[..]), (b"te", b""), (b"bc", b"2 3")].into_iter();
        let (mut single, mut whole) = (Fields::default(), Fields::default());
        for fields in [&mut single, &mut whole] {
            fields.push_bytes(b"GET");
        }
        lines().for_each(|(name, value)| single.push(name, value));
        assert!(whole.push_run(b"a: 1\r\nte: \r\nbc: 2 3\r\n", lines()));
        assert_eq!(format!("{whole:?}"), format!("{single:?}"));
        assert_eq!((whole.run(0..3), whole.kind(1)), (single.run(0..3), Some(Kind::Te)));
        for other in [&b"a: 1\r\n"[..], b"a: 1\r\nte: \r\nbc: 2 34\r\n", b"b: 1\r\nte: \r\nbc: 2 3\r\n"] {
            let mut fields = Fields::default();
            assert!(!fields.push_run(other, lines()) && fields.is_empty());
        }
        assert!(!Fields::default().push_run("ä: \r\n".as_bytes(), [("ä".as_bytes(), &b""[..])].into_iter()));
    }
}
