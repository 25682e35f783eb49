//! Typed reading of a JSON value. Every fault names its field and says what was found and what would be right, and
//! fields that the type does not know are noted with the name they may have been meant to have.
//!
//! This is a serde deserializer of its own because the list of a type's fields, and what a type expected, reach no one
//! but the deserializer.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, Visitor};
use serde_json::{Map, Value};

use crate::nearest::nearest;
use crate::path::Path;
use crate::problem::Fault;

/// How many unknown fields of one object are noted.
const UNKNOWN_MAX: usize = 100;

/// Reads `value`, which stands at `path` of its object, as a `T`. Unknown fields are added to `unknown`.
pub(crate) fn read<T: de::DeserializeOwned>(
    value: &Value,
    path: &Path,
    unknown: &mut Vec<Fault>,
) -> Result<T, Fault> {
    let notes = RefCell::new(std::mem::take(unknown));
    let result = T::deserialize(Reader { value, place: Place::Root(path), unknown: &notes });
    *unknown = notes.into_inner();
    result.map_err(|error| Fault::new(error.path.unwrap_or_else(|| path.clone()), error.message))
}

/// The sentence for a field that nothing knows.
pub(crate) fn unknown_field<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(meant) => format!("unknown field `{name}`; did you mean `{meant}`?"),
        None => format!("unknown field `{name}`; it has no effect"),
    }
}

/// A value as a sentence shows it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) if text.is_empty() => "an empty text".into(),
        Value::String(text) => format!("the text `{}`", shortened(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
    }
}

/// The beginning of a text, on one line.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// Where a value stands: a list linked towards the root, so that nothing is built unless something is wrong.
#[derive(Clone, Copy)]
enum Place<'a> {
    Root(&'a Path),
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn path(&self) -> Path {
        match self {
            Place::Root(path) => (*path).clone(),
            Place::Key(parent, key) => parent.path().key(key),
            Place::Index(parent, index) => parent.path().index(*index),
        }
    }
}

/// What is wrong; the innermost reader that knows the place fills it in.
#[derive(Debug)]
struct Error {
    path: Option<Path>,
    missing: Option<&'static str>,
    message: String,
}

impl Error {
    fn at(mut self, place: &Place<'_>) -> Self {
        if self.path.is_none() {
            let path = place.path();
            self.path = Some(match self.missing {
                Some(field) => path.key(field),
                None => path,
            });
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error { path: None, missing: None, message: message.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Error { path: None, missing: Some(field), message: format!("`{field}` is missing; it is required") }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let listed: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        let mut message = match listed.as_slice() {
            [one] => format!("expected {one}, found `{}`", shortened(variant)),
            many => format!("expected one of {}, found `{}`", many.join(", "), shortened(variant)),
        };
        if let Some(meant) = nearest(variant, expected.iter().copied()) {
            message += &format!("; did you mean `{meant}`?");
        }
        de::Error::custom(message)
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Reader<'a> {
    value: &'a Value,
    place: Place<'a>,
    unknown: &'a RefCell<Vec<Fault>>,
}

impl<'a> Reader<'a> {
    fn expected(&self, wanted: &str, hint: &str) -> Error {
        de::Error::custom(format!("expected {wanted}, found {}{hint}", shown(self.value)))
    }

    fn integer<T: TryFrom<i128>>(&self, min: impl fmt::Display, max: impl fmt::Display) -> Result<T, Error> {
        let number = self.value.as_i64().map(i128::from).or_else(|| self.value.as_u64().map(i128::from));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let quoted = self.value.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
            let hint = if quoted { "; write it without quotes" } else { "" };
            match size_of::<T>() {
                8 => self.expected("a whole number", hint),
                _ => self.expected(&format!("a whole number from {min} to {max}"), hint),
            }
        })
    }

    fn text(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| {
            let scalar = self.value.is_number() || self.value.is_boolean();
            self.expected("text", if scalar { "; write it in quotes" } else { "" })
        })
    }

    fn list(&self) -> Result<&'a Vec<Value>, Error> {
        self.value.as_array().ok_or_else(|| self.expected("a list", "; each item of a list begins with `- `"))
    }

    fn mapping(&self) -> Result<&'a Map<String, Value>, Error> {
        self.value.as_object().ok_or_else(|| self.expected("a mapping of fields", ""))
    }

    fn note_unknown(&self, fields: &'static [&'static str], mapping: &Map<String, Value>) {
        for name in mapping.keys().filter(|name| !fields.contains(&name.as_str())) {
            let mut unknown = self.unknown.borrow_mut();
            if unknown.len() < UNKNOWN_MAX {
                let free = fields.iter().copied().filter(|field| !mapping.contains_key(*field));
                unknown.push(Fault::new(self.place.path().key(name), unknown_field(name, free)));
            }
        }
    }
}

/// Says what a text should have been, from what its type expected.
fn ill_formed(error: Error, expecting: &str, text: &str) -> Error {
    let lower = expecting.to_lowercase();
    let wanted = if lower.contains("network") {
        "a network such as `192.0.2.0/24`"
    } else if lower.contains("ipv4") {
        "an IPv4 address such as `192.0.2.1`"
    } else if lower.contains("ip address") {
        "an IP address such as `192.0.2.1`"
    } else {
        return error;
    };
    Error { message: format!("expected {wanted}, found `{}`", shortened(text)), ..error }
}

struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expected::fmt(self.0, f)
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.integer::<$type>(<$type>::MIN, <$type>::MAX);
            number.and_then(|number| visitor.$visit(number)).map_err(|error| error.at(&self.place))
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (_, Some(number)) => visitor.visit_i64(number),
                _ => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { of: &self, items: items.iter(), next: 0 }),
            Value::Object(mapping) => visitor.visit_map(Fields::new(&self, mapping)),
        }
        .map_err(|error: Error| error.at(&self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let hint = match self.value.as_str() {
            Some(_) => "; write `true` or `false`, without quotes",
            None => "",
        };
        let value = self.value.as_bool().ok_or_else(|| self.expected("`true` or `false`", hint));
        value.and_then(|value| visitor.visit_bool(value)).map_err(|error| error.at(&self.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text().and_then(|text| visitor.visit_str(text)).map_err(|error| error.at(&self.place))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let expecting = Expecting(&visitor).to_string();
        self.text()
            .and_then(|text| visitor.visit_str(text).map_err(|error| ill_formed(error, &expecting, text)))
            .map_err(|error: Error| error.at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list()
            .and_then(|items| visitor.visit_seq(Items { of: &self, items: items.iter(), next: 0 }))
            .map_err(|error| error.at(&self.place))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.mapping()
            .and_then(|mapping| visitor.visit_map(Fields::new(&self, mapping)))
            .map_err(|error| error.at(&self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.mapping()
            .and_then(|mapping| {
                self.note_unknown(fields, mapping);
                visitor.visit_map(Fields::new(&self, mapping))
            })
            .map_err(|error| error.at(&self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.text()
            .and_then(|text| visitor.visit_enum(StrDeserializer::new(text)))
            .map_err(|error| error.at(&self.place))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The items of a list.
struct Items<'a> {
    of: &'a Reader<'a>,
    items: std::slice::Iter<'a, Value>,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let place = Place::Index(&self.of.place, self.next);
        self.next += 1;
        seed.deserialize(Reader { value, place, unknown: self.of.unknown }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The fields of a mapping.
struct Fields<'a> {
    of: &'a Reader<'a>,
    fields: serde_json::map::Iter<'a>,
    current: Option<(&'a String, &'a Value)>,
}

impl<'a> Fields<'a> {
    fn new(of: &'a Reader<'a>, mapping: &'a Map<String, Value>) -> Self {
        Fields { of, fields: mapping.iter(), current: None }
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.fields.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self.current.take().ok_or_else(|| de::Error::custom("a value without a name"))?;
        let place = Place::Key(&self.of.place, key);
        seed.deserialize(Reader { value, place, unknown: self.of.unknown })
    }
}
