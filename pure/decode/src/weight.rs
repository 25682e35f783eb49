//! What a text weighs once its aliases are written out, found without writing them out.
//!
//! The YAML loader copies what an alias names. A few nested aliases, or one long text named often, would fill the
//! memory. So a text that has aliases is first loaded into nodes that hold nothing but their weight: a collection
//! that ends folds into one number, and copying it costs nothing.

use std::hash::{Hash, Hasher};

use saphyr::{AnnotatedMapping, LoadableYamlNode, Marker, ScanError, Tag, Yaml};

/// How many bytes the nodes of a text may fill, aliases written out.
const WEIGHT_MAX: u64 = 256 << 20;
/// How deep they may be nested, so that no walk leaves its stack.
const DEPTH_MAX: u32 = 512;
/// What a node weighs beside its text.
const NODE_WEIGHT: u64 = 128;

/// Whether the text may be loaded with its aliases written out. A text that is no YAML is an error here already.
pub(crate) fn bearable(text: &str) -> Result<bool, ScanError> {
    if !(text.contains('*') && text.contains('&')) {
        return Ok(true);
    }
    let documents = Weighed::load_from_str(text)?;
    let total = documents.iter().fold(0u64, |sum, document| sum.saturating_add(document.weight));
    Ok(total <= WEIGHT_MAX && documents.iter().all(|document| document.depth <= DEPTH_MAX))
}

/// A node reduced to its weight. Until it ends, a collection holds its children's.
#[derive(Clone)]
struct Weighed {
    weight: u64,
    depth: u32,
    /// Kept for keys, so that the loader sees a key that is given twice; equal keys of other kinds never are.
    text: Option<String>,
    open: Open,
}

#[derive(Clone)]
enum Open {
    No,
    Bad,
    Sequence(Vec<Weighed>),
    Mapping(AnnotatedMapping<'static, Weighed>),
}

impl Weighed {
    fn leaf(text: Option<String>, open: Open) -> Self {
        let weight = NODE_WEIGHT + text.as_ref().map_or(0, |text| text.len() as u64);
        Weighed { weight, depth: 1, text, open }
    }

    fn take_in(&mut self, child: &Weighed) {
        self.weight = self.weight.saturating_add(child.weight);
        self.depth = self.depth.max(child.depth.saturating_add(1));
    }
}

impl PartialEq for Weighed {
    fn eq(&self, other: &Self) -> bool {
        self.text.is_some() && self.text == other.text
    }
}

impl Eq for Weighed {}

impl Hash for Weighed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.weight.hash(state);
    }
}

impl<'input> LoadableYamlNode<'input> for Weighed {
    type HashKey = Weighed;

    fn from_bare_yaml(yaml: Yaml<'input>) -> Self {
        match yaml {
            Yaml::Sequence(_) => Weighed::leaf(None, Open::Sequence(Vec::new())),
            Yaml::Mapping(_) => Weighed::leaf(None, Open::Mapping(AnnotatedMapping::new())),
            Yaml::BadValue => Weighed::leaf(None, Open::Bad),
            Yaml::Tagged(_, inner) => Weighed::from_bare_yaml(*inner),
            Yaml::Value(saphyr::Scalar::String(text)) => Weighed::leaf(Some(text.into_owned()), Open::No),
            _ => Weighed::leaf(None, Open::No),
        }
    }

    fn is_sequence(&self) -> bool {
        matches!(self.open, Open::Sequence(_))
    }

    fn is_mapping(&self) -> bool {
        matches!(self.open, Open::Mapping(_))
    }

    fn is_badvalue(&self) -> bool {
        matches!(self.open, Open::Bad)
    }

    fn sequence_mut(&mut self) -> &mut Vec<Self> {
        match &mut self.open {
            Open::Sequence(items) => items,
            _ => unreachable!("the loader asks is_sequence() first"),
        }
    }

    fn mapping_mut(&mut self) -> &mut AnnotatedMapping<'static, Weighed> {
        match &mut self.open {
            Open::Mapping(fields) => fields,
            _ => unreachable!("the loader asks is_mapping() first"),
        }
    }

    fn into_tagged(self, _: std::borrow::Cow<'input, Tag>) -> Self {
        self
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Weighed::leaf(None, Open::Bad))
    }

    /// The loader says here that a collection has ended.
    fn with_end_marker(mut self, _: Marker) -> Self {
        match std::mem::replace(&mut self.open, Open::No) {
            Open::Sequence(items) => items.iter().for_each(|item| self.take_in(item)),
            Open::Mapping(fields) => fields.iter().for_each(|(key, value)| {
                self.take_in(key);
                self.take_in(value);
            }),
            Open::No | Open::Bad => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aliases that multiply, in values or in keys, and long texts named often are refused at once; common use is not.
    #[test]
    fn bombs() {
        let mut values = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let mut keys = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let mut deep = "a0: &a0 [x]\n".to_owned();
        for (from, to) in
            ["a", "b", "c", "d", "e", "f", "g", "h"].iter().zip(["b", "c", "d", "e", "f", "g", "h", "i"])
        {
            values += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(", "));
            keys += &format!(
                "{to}: &{to} {{ ? [*{from}] : 1, ? [*{from}, 1] : 2, ? [1, *{from}] : 3, ? [2, *{from}] : 4 }}\n"
            );
        }
        for level in 1..300 {
            deep += &format!("a{level}: &a{level} [[[*a{}]]]\n", level - 1);
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 5_000].join(", "));
        for (name, text, good) in [
            ("values", values.as_str(), false),
            (
                "keys",
                &(keys.clone() + "z: [*i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i, *i]\n"),
                false,
            ),
            ("deep", &deep, false),
            ("long", &long, false),
            ("common", "a: &a {x: 1}\nb: *a\nc: [*a, *a]\n", true),
            ("none", "a: \"*\"\nb: x & y\n", true),
        ] {
            assert_eq!(bearable(text).expect(name), good, "{name}");
        }
    }
}
