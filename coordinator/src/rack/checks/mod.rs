//! What a schema cannot say: whether the parts of a rack fit together.

mod addresses;
mod cluster;
mod hosts;
mod limits;
mod nodes;

use std::collections::HashMap;
use std::fmt::Display;

use rackwright_proto::finding::Severity;

use super::diagnostic::Place;
use super::node::Rack;
use super::structure::Problem;

/// All problems of a well-formed rack.
pub(super) fn check(rack: &Rack, places: &HashMap<String, Place>) -> Vec<Problem> {
    let mut found = Found::new(places);
    nodes::check(rack, &mut found);
    hosts::check(rack, &mut found);
    addresses::check(rack, &mut found);
    cluster::check(rack, &mut found);
    limits::check(rack, &mut found);
    found.problems
}

/// Collects problems and finds their places.
pub(crate) struct Found<'a> {
    places: &'a HashMap<String, Place>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Found<'a> {
    pub(crate) fn new(places: &'a HashMap<String, Place>) -> Self {
        Self { places, problems: Vec::new() }
    }

    pub(crate) fn error(&mut self, path: impl Display, message: impl Display, help: impl Display) {
        self.add(Severity::Error, path.to_string(), message.to_string(), help.to_string());
    }

    pub(crate) fn warning(&mut self, path: impl Display, message: impl Display, help: impl Display) {
        self.add(Severity::Warning, path.to_string(), message.to_string(), help.to_string());
    }

    fn add(&mut self, severity: Severity, path: String, message: String, help: String) {
        let place = self.place(&path);
        self.problems.push(Problem { severity, place, path, message, help: Some(help) });
    }

    /// The place of the path, or of the nearest section around it that was written.
    fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            let cut = if path.ends_with(']') { path.rfind('[') } else { path.rfind('.') };
            path = &path[..cut.unwrap_or(0)];
            if path.is_empty() {
                return Place { start: 0, end: 1 };
            }
        }
    }
}

/// The names of the nodes, as advice; not all of a large rack.
pub fn nodes_of(rack: &Rack) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = rack.nodes().take(SHOWN).map(|node| node.name.as_str()).collect();
    let more = if rack.nodes().len() > SHOWN { ", ..." } else { "" };
    format!("nodes: {}{more}", names.join(", "))
}
