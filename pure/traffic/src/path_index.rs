//! The matches of one host by path: a hash for exact paths, a tree of segments for prefixes, a list for expressions.
//!
//! Order: exact, then regular expressions (longer first; Gateway API leaves their place open), then the longest
//! prefix; a method of gRPC without its service comes before the empty prefix (GRPCRouteRule: longer service first, then
//! longer method). A prefix costs one hash per segment of the request's path, and stops where no prefix goes deeper.

use std::cmp::Reverse;
use std::collections::HashMap;

use memchr::memchr;
use regex::Regex;
use tidegate_model::traffic::{PathMatch, RequestMatch};

use crate::candidate::{Candidate, whole};
use crate::hash::Quick;
use crate::path::normalise;
use crate::request::RequestView;

/// The empty prefix.
const ROOT: u32 = 0;

#[derive(Debug)]
pub(crate) struct PathIndex {
    exact: HashMap<Box<str>, Vec<Candidate>, Quick>,
    regexes: Vec<(String, Regex, Vec<Candidate>)>,
    /// By the second of two segments.
    seconds: HashMap<Box<str>, Vec<Candidate>, Quick>,
    /// The first is the root, the empty prefix.
    prefixes: Vec<Node>,
}

/// A prefix: its segments are the way here from the root. It lies within one line of the cache: with many routes each step on
/// the way is a miss.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Node {
    /// Of the root: itself.
    parent: u32,
    children: HashMap<Box<str>, u32, Quick>,
    candidates: Vec<Candidate>,
}

impl Default for PathIndex {
    fn default() -> Self {
        PathIndex {
            exact: HashMap::default(),
            regexes: Vec::new(),
            seconds: HashMap::default(),
            prefixes: vec![Node::default()],
        }
    }
}

impl PathIndex {
    /// Takes in a match, and what it leads to.
    pub fn insert(&mut self, candidate: Candidate, matched: &RequestMatch) {
        match &matched.path {
            PathMatch::Exact(path) => {
                let path = normalise(path).map_or_else(|_| path.clone(), Into::into);
                self.exact.entry(path.into()).or_default().push(candidate);
            }
            PathMatch::Prefix(prefix) => {
                let prefix = normalise(prefix).map_or_else(|_| prefix.clone(), Into::into);
                let node = self.node(&prefix);
                self.prefixes[node as usize].candidates.push(candidate);
            }
            PathMatch::Regex(pattern) => self.insert_regex(pattern, candidate),
            PathMatch::Second(name) => self.seconds.entry(name.as_str().into()).or_default().push(candidate),
        }
    }

    fn insert_regex(&mut self, pattern: &str, candidate: Candidate) {
        if let Some((_, _, candidates)) = self.regexes.iter_mut().find(|(known, _, _)| known == pattern) {
            candidates.push(candidate);
        } else if let Some(regex) = whole(pattern) {
            self.regexes.push((pattern.to_owned(), regex, vec![candidate]));
        }
    }

    /// The node of a prefix, made with those above it if they are not there yet.
    fn node(&mut self, prefix: &str) -> u32 {
        let mut at = 0;
        for segment in prefix.split('/').filter(|segment| !segment.is_empty()) {
            at = match self.prefixes[at as usize].children.get(segment) {
                Some(&child) => child,
                None => {
                    // Prefixes are far fewer than 2^32.
                    let child = self.prefixes.len() as u32;
                    self.prefixes.push(Node { parent: at, ..Node::default() });
                    self.prefixes[at as usize].children.insert(segment.into(), child);
                    child
                }
            };
        }
        at
    }

    /// Puts everything in order of precedence, and lets go of room to grow; to be called once, after the last insert.
    pub fn sort(&mut self) {
        self.exact.shrink_to_fit();
        self.prefixes.shrink_to_fit();
        let lists = self.exact.values_mut().chain(self.seconds.values_mut());
        let lists = lists.chain(self.prefixes.iter_mut().map(|node| &mut node.candidates));
        for list in lists.chain(self.regexes.iter_mut().map(|(_, _, list)| list)) {
            list.sort_by_key(Candidate::rank);
            list.shrink_to_fit();
        }
        self.regexes.sort_by_key(|(pattern, _, list)| {
            (Reverse(pattern.len()), list.first().map(|first| first.place))
        });
    }

    /// The match that takes precedence for the request.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        let first = |list| first(list, request);
        if let Some(found) = self.exact.get(request.path).and_then(|list| first(list)) {
            return Some(found);
        }
        let mut regexes = self.regexes.iter().filter(|(_, regex, _)| regex.is_match(request.path));
        if let Some(found) = regexes.find_map(|(_, _, list)| first(list)) {
            return Some(found);
        }
        let mut at = self.deepest(request.path);
        while at != ROOT {
            let node = &self.prefixes[at as usize];
            if let Some(found) = first(&node.candidates) {
                return Some(found);
            }
            at = node.parent;
        }
        let second = self.second(request.path).and_then(first);
        second.or_else(|| first(&self.prefixes[ROOT as usize].candidates))
    }

    fn second(&self, path: &str) -> Option<&[Candidate]> {
        if self.seconds.is_empty() {
            return None;
        }
        let (_, name) = path.strip_prefix('/')?.split_once('/')?;
        self.seconds.get(name).map(Vec::as_slice)
    }

    /// The node of the longest prefix.
    fn deepest(&self, path: &str) -> u32 {
        let (mut at, mut rest) = (ROOT, path.strip_prefix('/'));
        while let Some(path) = rest {
            let children = &self.prefixes[at as usize].children;
            if children.is_empty() {
                break;
            }
            let end = memchr(b'/', path.as_bytes());
            let segment = end.map_or(path, |end| &path[..end]);
            let Some(&child) = children.get(segment) else { break };
            (at, rest) = (child, end.map(|end| &path[end + 1..]));
        }
        at
    }
}

/// The first that matches.
fn first<'l>(list: &'l [Candidate], request: &RequestView<'_>) -> Option<&'l Candidate> {
    list.iter().find(|candidate| candidate.matches(request))
}
