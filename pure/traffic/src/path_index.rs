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
use crate::name::Name;
use crate::path::normalise;
use crate::request::RequestView;

/// The empty prefix.
const ROOT: u32 = 0;

#[derive(Debug)]
pub(crate) struct PathIndex {
    exact: HashMap<Name, List, Quick>,
    regexes: Vec<(String, Regex, List)>,
    /// By the second of two segments.
    seconds: HashMap<Name, List, Quick>,
    /// The first is the root, the empty prefix.
    prefixes: Vec<Node>,
}

/// A prefix: its segments are the way here from the root. It lies within two lines of the cache that come together: with many
/// routes each step on the way is a miss.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Node {
    /// Of the root: itself.
    parent: u32,
    children: HashMap<Name, u32, Quick>,
    candidates: List,
}

/// Matches that share a path, in order of precedence; most are alone.
#[derive(Debug, Default)]
struct List {
    first: Option<Candidate>,
    more: Vec<Candidate>,
}

impl List {
    fn push(&mut self, candidate: Candidate) {
        match self.first {
            None => self.first = Some(candidate),
            Some(_) => self.more.push(candidate),
        }
    }

    fn sort(&mut self) {
        if !self.more.is_empty() {
            self.more.extend(self.first.take());
            self.more.sort_by_key(Candidate::rank);
            self.first = Some(self.more.remove(0));
        }
        self.more.shrink_to_fit();
    }

    /// The first that matches.
    fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        self.first.iter().chain(&self.more).find(|candidate| candidate.matches(request))
    }
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
                self.exact.entry(Name::from(&*path)).or_default().push(candidate);
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
            let only = List { first: Some(candidate), more: Vec::new() };
            self.regexes.push((pattern.to_owned(), regex, only));
        }
    }

    /// The node of a prefix, made with those above it if they are not there yet.
    fn node(&mut self, prefix: &str) -> u32 {
        let mut at = 0;
        for segment in prefix.split('/').filter(|segment| !segment.is_empty()) {
            at = match self.prefixes[at as usize].children.get(segment.as_bytes()) {
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
            list.sort();
        }
        self.regexes.sort_by_key(|(pattern, _, list)| {
            (Reverse(pattern.len()), list.first.as_ref().map(|first| first.place))
        });
    }

    /// The match that takes precedence for the request.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if let Some(found) = self.exact.get(request.path.as_bytes()).and_then(|list| list.find(request)) {
            return Some(found);
        }
        let mut regexes = self.regexes.iter().filter(|(_, regex, _)| regex.is_match(request.path));
        if let Some(found) = regexes.find_map(|(_, _, list)| list.find(request)) {
            return Some(found);
        }
        let mut at = self.deepest(request.path);
        while at != ROOT {
            let node = &self.prefixes[at as usize];
            if let Some(found) = node.candidates.find(request) {
                return Some(found);
            }
            at = node.parent;
        }
        let second = self.second(request.path).and_then(|list| list.find(request));
        second.or_else(|| self.prefixes[ROOT as usize].candidates.find(request))
    }

    fn second(&self, path: &str) -> Option<&List> {
        if self.seconds.is_empty() {
            return None;
        }
        let (_, name) = path.strip_prefix('/')?.split_once('/')?;
        self.seconds.get(name.as_bytes())
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
            let Some(&child) = children.get(segment.as_bytes()) else { break };
            (at, rest) = (child, end.map(|end| &path[end + 1..]));
        }
        at
    }
}
