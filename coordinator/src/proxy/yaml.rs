//! YAML as a tree of byte spans: enough to change one value and leave every other byte alone.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// The deepest nesting, and the most nodes: a configuration has a hundred.
const DEEPEST: usize = 40;
const MOST: usize = 20_000;

/// A part of a document.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its bytes. Of a mapping or sequence in block style, the start only can be trusted.
    pub(super) span: Range<usize>,
    pub(super) shape: Shape,
    /// An anchor, an alias or a tag: something that is not said here alone, or not as it looks.
    pub(super) odd: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    Scalar { text: String, plain: bool, block: bool },
    Sequence { items: Vec<Node>, flow: bool },
    Mapping { entries: Vec<(Node, Node)>, flow: bool },
    Alias,
}

/// What keeps a text from being read, and at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: String,
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing there: `key:`, `key: null` or `key: ~`.
    pub(super) fn is_null(&self) -> bool {
        let null = |text: &str| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        matches!(&self.shape, Shape::Scalar { text, plain: true, .. } if null(text))
    }

    pub(super) fn entries(&self) -> &[(Node, Node)] {
        match &self.shape {
            Shape::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// The end of the last scalar or bracket in it.
    pub(super) fn end(&self) -> usize {
        match &self.shape {
            Shape::Mapping { entries, flow: false } => {
                entries.last().map_or(self.span.end, |(key, value)| value.end().max(key.span.end))
            }
            Shape::Sequence { items, flow: false } => items.last().map_or(self.span.end, Node::end),
            _ => self.span.end,
        }
    }

    /// The same value, whatever its place and style; for values without aliases.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Shape::Scalar { text: a, plain: p, .. }, Shape::Scalar { text: b, plain: q, .. }) => {
                a == b && p == q && self.odd == other.odd
            }
            (Shape::Sequence { items: a, .. }, Shape::Sequence { items: b, .. }) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Shape::Mapping { entries: a, .. }, Shape::Mapping { entries: b, .. }) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0.same(&b.0) && a.1.same(&b.1))
            }
            (Shape::Alias, Shape::Alias) => true,
            _ => false,
        }
    }
}

/// The documents of a text.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader { text, at: Bytes::new(text), parser: Parser::new_from_str(text), nodes: 0 };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        if let Event::DocumentStart(_) = event {
            continue;
        }
        if starts_a_node(&event) {
            documents.push(reader.node(event, span, 0)?);
        }
    }
    Ok(documents)
}

fn starts_a_node(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(..) | Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..))
}

/// The parser counts characters, an edit needs bytes.
struct Bytes {
    starts: Vec<usize>,
}

impl Bytes {
    fn new(text: &str) -> Self {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { starts }
    }

    fn of(&self, character: usize) -> usize {
        self.starts[character.min(self.starts.len() - 1)]
    }

    fn span(&self, span: Span) -> Range<usize> {
        let start = self.of(span.start.index());
        start..self.of(span.end.index()).max(start)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: Bytes,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Range<usize>)>, Fault> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.at.span(span)))),
            Some(Err(error)) => {
                let at = self.at.of(error.marker().index());
                Err(Fault { at, what: format!("not YAML: {}", error.info()) })
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Range<usize>, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if depth > DEEPEST || self.nodes > MOST {
            return Err(Fault { at: span.start, what: "deeper or larger than a configuration is".into() });
        }
        let odd = |anchor: usize, tag: &Option<std::borrow::Cow<'_, Tag>>| anchor > 0 || tag.is_some();
        let flow = |open: char| self.text[span.start..].starts_with(open);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let (plain, text) = (style == ScalarStyle::Plain, text.into_owned());
                // What is left out has its place wherever the parser noticed.
                Ok(Node { span, shape: Shape::Scalar { text, plain, block }, odd: odd(anchor, &tag) })
            }
            Event::SequenceStart(anchor, tag) => {
                let (flow, odd) = (flow('['), odd(anchor, &tag));
                let (items, end) = self.items(depth)?;
                Ok(Node { span: span.start..end, shape: Shape::Sequence { items, flow }, odd })
            }
            Event::MappingStart(anchor, tag) => {
                let (flow, odd) = (flow('{'), odd(anchor, &tag));
                let (entries, end) = self.entries(depth)?;
                Ok(Node { span: span.start..end, shape: Shape::Mapping { entries, flow }, odd })
            }
            _ => Ok(Node { span, shape: Shape::Alias, odd: true }),
        }
    }

    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, usize), Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, span)) => return Ok((items, span.end)),
                Some((event, span)) if starts_a_node(&event) => {
                    items.push(self.node(event, span, depth + 1)?)
                }
                Some(_) => {}
                None => return Err(self.cut()),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<(Vec<(Node, Node)>, usize), Fault> {
        let (mut entries, mut known) = (Vec::new(), HashSet::new());
        let mut key: Option<Node> = None;
        loop {
            let node = match self.next()? {
                Some((Event::MappingEnd, span)) => return Ok((entries, span.end)),
                Some((event, span)) if starts_a_node(&event) => self.node(event, span, depth + 1)?,
                Some(_) => continue,
                None => return Err(self.cut()),
            };
            match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let (at, name) = (node.span.start, node.text().map(str::to_owned));
                    if name.as_deref() == Some("<<") {
                        return Err(Fault { at, what: "a merge key (`<<`)".into() });
                    }
                    if name.is_some_and(|name| !known.insert(name)) {
                        return Err(Fault { at, what: "the same key twice".into() });
                    }
                    key = Some(node);
                }
            }
        }
    }

    fn cut(&self) -> Fault {
        Fault { at: self.text.len(), what: "the text ends too early".into() }
    }
}
