//! What becomes of responses (BackendTrafficPolicy): compression, and answers in place of others.

use std::sync::Arc;

use serde::Serialize;

use super::{HeaderChanges, Redirect};

/// What becomes of responses; by default they go out as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResponsePolicy {
    /// How they may be compressed, preferred first; empty: not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compression: Vec<Compression>,
    /// Answers in place of others; the first that matches counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<ResponseOverride>,
}

impl ResponsePolicy {
    /// Whether responses go out as they are.
    pub fn is_empty(&self) -> bool {
        self.compression.is_empty() && self.overrides.is_empty()
    }

    /// What stands in for an answer with this status.
    pub fn override_of(&self, status: u16) -> Option<&Arc<Replacement>> {
        let matches = |entry: &&ResponseOverride| {
            entry.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status))
        };
        self.overrides.iter().find(matches).map(|entry| &entry.with)
    }
}

/// A way to compress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compression {
    /// Which.
    pub coding: Coding,
    /// Bodies known to be shorter are left as they are.
    pub bytes_min: u64,
    /// Media types that are compressed, in lower case, without parameters.
    pub content_types: Arc<[String]>,
    /// Whether answers that hold secrets of one client are compressed, too.
    pub credentialed: bool,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// All there are.
    pub const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// Its name in `Content-Encoding` (IANA, HTTP Content Coding Registry).
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

/// Answers that are replaced, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResponseOverride {
    /// First and last status of each run.
    pub statuses: Vec<(u16, u16)>,
    /// What is answered.
    pub with: Arc<Replacement>,
}

/// An answer in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Replacement {
    /// A page.
    Page(Page),
    /// The client is sent elsewhere; the path, if there is one, is whole.
    Redirect(Redirect),
}

/// A page; what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Page {
    /// 200 to 599.
    pub status: Option<u16>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Option<Arc<[u8]>>,
    /// Changes to the headers.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub headers: HeaderChanges,
}
