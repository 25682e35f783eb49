//! The matches of one host by path: a hash for exact paths, a tree of segments for prefixes, a list for expressions.
//!
//! Order: exact, then regular expressions (longer first; Gateway API leaves their place open), then the longest
//! prefix; a method of gRPC without its service comes before the empty prefix (GRPCRouteRule: longer service first, then
//! longer method). A prefix costs one hash per segment of the request's path, and stops where no prefix goes deeper.

use std::cmp::Reverse;
use std::collections::HashMap;

use regex::Regex;
use tidegate_model::traffic::{PathMatch, RequestMatch};

use crate::candidate::{Candidate, whole};
use crate::hash::Quick;
use crate::path::normalise;
use crate::request::RequestView;

#[derive(Debug)]
pub(crate) struct PathIndex {
    exact: HashMap<String, Vec<Candidate>, Quick>,
    regexes: Vec<(String, Regex, Vec<Candidate>)>,
    /// By the second of two segments.
    seconds: HashMap<String, Vec<Candidate>, Quick>,
    /// The first is the root, the empty prefix.
    prefixes: Vec<Node>,
}

/// A prefix: its segments are the way here from the root.
#[derive(Debug, Default)]
struct Node {
    parent: Option<usize>,
    children: HashMap<String, usize, Quick>,
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
                self.exact.entry(path).or_default().push(candidate);
            }
            PathMatch::Prefix(prefix) => {
                let prefix = normalise(prefix).map_or_else(|_| prefix.clone(), Into::into);
                let node = self.node(&prefix);
                self.prefixes[node].candidates.push(candidate);
            }
            PathMatch::Regex(pattern) => self.insert_regex(pattern, candidate),
            PathMatch::Second(name) => self.seconds.entry(name.clone()).or_default().push(candidate),
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
    fn node(&mut self, prefix: &str) -> usize {
        let mut at = 0;
        for segment in prefix.split('/').filter(|segment| !segment.is_empty()) {
            at = match self.prefixes[at].children.get(segment) {
                Some(&child) => child,
                None => {
                    let child = self.prefixes.len();
                    self.prefixes.push(Node { parent: Some(at), ..Node::default() });
                    self.prefixes[at].children.insert(segment.to_owned(), child);
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
        let mut node = Some(self.deepest(request.path));
        while let Some(at) = node {
            if at == 0
                && let Some(found) = self.second(request.path).and_then(first)
            {
                return Some(found);
            }
            if let Some(found) = first(&self.prefixes[at].candidates) {
                return Some(found);
            }
            node = self.prefixes[at].parent;
        }
        None
    }

    fn second(&self, path: &str) -> Option<&[Candidate]> {
        if self.seconds.is_empty() {
            return None;
        }
        let (_, name) = path.strip_prefix('/')?.split_once('/')?;
        self.seconds.get(name).map(Vec::as_slice)
    }

    fn deepest(&self, path: &str) -> usize {
        let mut at = 0;
        for segment in path.strip_prefix('/').into_iter().flat_map(|path| path.split('/')) {
            match self.prefixes[at].children.get(segment) {
                Some(&child) => at = child,
                None => break,
            }
        }
        at
    }
}

/// The first that matches.
fn first<'l>(list: &'l [Candidate], request: &RequestView<'_>) -> Option<&'l Candidate> {
    list.iter().find(|candidate| candidate.matches(request))
}
