//! YAML as a tree that remembers where everything stood and how it was written.
//!
//! Scalars keep their raw text: what `off`, `1.30` or `0644` mean is for the schema to say, not for YAML.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::diagnostic::Place;
use super::language::Language;

/// The deepest nesting; a rack needs ten.
const DEEPEST: usize = 40;
/// The same of manifests: a definition of a resource has its schema inside.
const DEEPEST_OF_OBJECTS: usize = 120;
/// The most nodes, with aliases expanded.
const MOST: usize = 200_000;

/// A part of the document.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
    /// How many nodes it consists of.
    size: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Marked>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Marked,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Marked {
    /// Nothing there: `key:` or `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.shape, Shape::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

enum Open {
    Sequence { start: Place, anchor: usize, items: Vec<Marked> },
    Mapping { start: Place, anchor: usize, entries: Vec<Entry>, key: Option<(String, Place)> },
}

struct Builder<'l> {
    /// `None` for manifests: any number of documents, of which other programs make sense.
    language: Option<&'l Language>,
    documents: Vec<Marked>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Marked>,
    nodes: usize,
    root: Option<Marked>,
}

/// The tree of the one document in `text`, or what keeps it from being one.
pub(crate) fn parse(text: &str, language: &Language) -> Result<Marked, Fault> {
    let mut builder = Builder::new(Some(language));
    builder.read(Parser::new_from_str(text))?;
    builder.root.ok_or_else(|| {
        fault(Place::default(), format!("the {} is empty", language.noun), language.when_empty)
    })
}

/// The trees of all documents in the text of a manifest up to the first that is none, and what keeps that from being one.
pub(crate) fn documents(text: &str) -> (Vec<Marked>, Option<Fault>) {
    let mut builder = Builder::new(None);
    let fault = builder.read(Parser::new_from_str(text)).err();
    (builder.documents, fault)
}

fn fault(place: Place, message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault { place, message: message.into(), help: Some(help.into()) }
}

fn place(span: Span) -> Place {
    Place { start: span.start.index(), end: span.end.index() }
}

impl<'l> Builder<'l> {
    fn new(language: Option<&'l Language>) -> Self {
        let (documents, stack) = (Vec::new(), Vec::new());
        Self { language, documents, stack, anchors: HashMap::new(), nodes: 0, root: None }
    }

    /// `a rack`, `an IstioOperator file`.
    fn one(&self) -> String {
        let noun = self.language.map_or("manifest", |language| language.noun);
        let article = if noun.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']) { "an" } else { "a" };
        format!("{article} {noun}")
    }

    fn read<'a>(&mut self, mut parser: Parser<'a, StrInput<'a>>) -> Result<(), Fault> {
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let at = error.marker().index();
                syntax(Place { start: at, end: at + 1 }, error.info())
            })?;
            self.event(event, place(span))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let what = self.language.map_or("", |language| language.when_second);
                let help = format!("{} is one document; {what}", self.one());
                return Err(fault(place, "a second document", help));
            }
            Event::DocumentEnd if self.language.is_none() => {
                // Anchors end with their document.
                self.anchors.clear();
                self.documents.extend(self.root.take());
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.known_tag(tag.as_deref(), place)?;
                let plain = style == ScalarStyle::Plain;
                self.add(
                    Marked { place, shape: Shape::Scalar { text: text.into_owned(), plain }, size: 1 },
                    anchor,
                )?;
            }
            Event::Alias(anchor) => {
                let Some(marked) = self.anchors.get(&anchor).cloned() else {
                    return Err(fault(place, "an alias inside of its own anchor", "write the value out"));
                };
                self.add(marked, 0)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.known_tag(tag.as_deref(), place)?;
                self.open(Open::Sequence { start: place, anchor, items: vec![] }, place)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.known_tag(tag.as_deref(), place)?;
                self.open(Open::Mapping { start: place, anchor, entries: vec![], key: None }, place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place)?,
            _ => {}
        }
        Ok(())
    }

    fn known_tag(&self, tag: Option<&Tag>, place: Place) -> Result<(), Fault> {
        let Some(language) = self.language else { return Ok(()) };
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() && (tag.handle != "!" || !tag.suffix.is_empty()) => {
                let message = format!("the tag {tag} means nothing in {}", self.one());
                Err(fault(place, message, language.when_tagged))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, place: Place) -> Result<(), Fault> {
        if matches!(self.stack.last(), Some(Open::Mapping { key: None, .. })) {
            return Err(fault(place, "a key that is not one word", "quote it if it is meant as text"));
        }
        let deepest = if self.language.is_some() { DEEPEST } else { DEEPEST_OF_OBJECTS };
        if self.stack.len() >= deepest {
            return Err(fault(
                place,
                format!("nested more than {deepest} deep"),
                format!("{} is flatter than that", self.one()),
            ));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self, end: Place) -> Result<(), Fault> {
        let (start, anchor, shape, size) = match self.stack.pop() {
            Some(Open::Sequence { start, anchor, items }) => {
                let size = items.iter().map(|i| i.size).sum::<usize>();
                (start, anchor, Shape::Sequence(items), size)
            }
            Some(Open::Mapping { start, anchor, entries, .. }) => {
                let size = entries.iter().map(|e| e.value.size).sum::<usize>();
                (start, anchor, Shape::Mapping(entries), size)
            }
            None => return Ok(()),
        };
        let place = Place { start: start.start, end: end.end.max(start.end) };
        // Its parts were counted when they came.
        self.nodes -= size;
        self.add(Marked { place, shape, size: size + 1 }, anchor)
    }

    fn add(&mut self, marked: Marked, anchor: usize) -> Result<(), Fault> {
        self.nodes += marked.size;
        if self.nodes > MOST {
            return Err(fault(
                marked.place,
                format!("more than {MOST} values"),
                format!("{} is smaller than that, aliases included", self.one()),
            ));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, marked.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(marked),
            Some(Open::Sequence { items, .. }) => items.push(marked),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                None => *key = Some(key_of(marked, self.language.is_none())?),
                Some((key, key_place)) => entries.push(Entry { key, key_place, value: marked }),
            },
        }
        Ok(())
    }
}

fn key_of(marked: Marked, merges: bool) -> Result<(String, Place), Fault> {
    match marked.shape {
        Shape::Scalar { text, plain: true } if text == "<<" && !merges => Err(fault(
            marked.place,
            "merge keys (`<<`) are not YAML 1.2",
            "write the fields out, or use an alias for a whole value",
        )),
        Shape::Scalar { text, .. } => Ok((text, marked.place)),
        _ => Err(fault(marked.place, "a key that is not one word", "quote it if it is meant as text")),
    }
}

/// A message of the YAML parser, with what usually is behind it.
fn syntax(place: Place, info: &str) -> Fault {
    let help = [
        (
            "mapping values are not allowed",
            "a `: ` inside a value wants quotes around the value; or this line is indented too far",
        ),
        ("simple key", "a line without `:` stands among keys; look at this line and the one before"),
        ("expected ':'", "a line without `:` stands among keys; look at this line and the one before"),
        ("block mapping", "this line is indented differently from its siblings"),
        ("block collection", "this line is indented differently from its siblings"),
        ("flow", "a `{` or `[` is not closed, or a `,` is missing"),
        ("quoted scalar", "a quote is opened and not closed"),
        ("unknown anchor", "an alias (`*name`) needs its anchor (`&name`) before it"),
        ("tab", "YAML is indented by spaces only"),
    ];
    let help = help.iter().find(|(part, _)| info.contains(part)).map(|(_, help)| (*help).to_owned());
    Fault { place, message: format!("not YAML: {info}"), help }
}
