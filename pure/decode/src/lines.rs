//! [`Lines`]: from a field of an object to its line in the text, kept small because a source may hold many objects.

use crate::path::{Path, Step};

/// The lines of an object's fields.
///
/// Fields stand in the order of a walk from the root, parents first. An entry is twelve bytes, and the names of all
/// keys share one string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    first: u32,
    names: Box<str>,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    line: u32,
    /// Index of the entry behind the last descendant.
    end: u32,
    /// Where the name ends in `names`; it begins where that of the entry before ends.
    name_end: u32,
}

impl Lines {
    /// Only the first line of an object, for kinds whose fields are never pointed at.
    pub fn only(first: usize) -> Self {
        Lines { first: narrow(first), ..Lines::default() }
    }

    /// The object's first line, from 1; 0 when unknown.
    pub fn first(&self) -> usize {
        self.first as usize
    }

    /// The line of a field such as `spec.rules[0].matches`, or of its nearest ancestor that is there.
    pub fn of(&self, field: &str) -> usize {
        let mut line = self.first;
        let (mut from, mut to) = (0, self.entries.len());
        for step in Path::parse(field).0 {
            let Some(found) = self.child(from, to, &step) else { break };
            line = self.entries[found].line;
            (from, to) = (found + 1, self.entries[found].end as usize);
        }
        line as usize
    }

    /// The child in this range of siblings and their descendants that the step names.
    fn child(&self, from: usize, to: usize, step: &Step) -> Option<usize> {
        let mut at = from;
        let mut nth = 0;
        while at < to {
            let hit = match step {
                Step::Key(key) => self.name(at) == key,
                Step::Index(index) => nth == *index && self.name(at).is_empty(),
            };
            if hit {
                return Some(at);
            }
            nth += 1;
            at = self.entries[at].end as usize;
        }
        None
    }

    fn name(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.entries[at - 1].name_end as usize };
        &self.names[start..self.entries[at].name_end as usize]
    }
}

/// Builds [`Lines`] during a walk: [`open`](Builder::open) before a field's children, [`close`](Builder::close) after.
#[derive(Debug)]
pub(crate) struct Builder {
    first: usize,
    names: String,
    entries: Vec<Entry>,
}

impl Builder {
    pub fn new(first: usize) -> Self {
        Builder { first, names: String::new(), entries: Vec::new() }
    }

    /// A field begins; items of lists have the empty name.
    pub fn open(&mut self, name: &str, line: usize) -> usize {
        self.names.push_str(name);
        self.entries.push(Entry { line: narrow(line), end: 0, name_end: narrow(self.names.len()) });
        self.entries.len() - 1
    }

    /// The field that `open` returned ends.
    pub fn close(&mut self, opened: usize) {
        self.entries[opened].end = narrow(self.entries.len());
    }

    pub fn finish(self) -> Lines {
        Lines { first: narrow(self.first), names: self.names.into(), entries: self.entries.into() }
    }
}

/// A text is at most 16 MiB, so neither lines nor offsets leave 32 bits; what does is cut.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field has its line; one that is absent has that of its nearest ancestor.
    #[test]
    fn nearest_ancestor() {
        let mut builder = Builder::new(3);
        let spec = builder.open("spec", 4);
        let rules = builder.open("rules", 5);
        for line in [6, 8] {
            let item = builder.open("", line);
            let name = builder.open("name", line + 1);
            builder.close(name);
            builder.close(item);
        }
        builder.close(rules);
        builder.close(spec);
        let kind = builder.open("kind", 10);
        builder.close(kind);
        let lines = builder.finish();
        for (field, line) in [
            ("", 3),
            ("spec", 4),
            ("spec.rules", 5),
            ("spec.rules[0]", 6),
            ("spec.rules[0].name", 7),
            ("spec.rules[1].name", 9),
            ("spec.rules[1].matches[0].path", 8),
            ("spec.rules[2].name", 5),
            ("spec.hostnames", 4),
            ("kind", 10),
            ("status", 3),
        ] {
            assert_eq!(lines.of(field), line, "{field}");
        }
    }

    /// Where only the first line is kept, every field has it.
    #[test]
    fn only_first() {
        assert_eq!(Lines::only(7).of("spec.rules[0]"), 7);
    }
}
