//! Any text, and Corefiles of any shape.

use proptest::prelude::*;

use super::edit::upstreams;
use crate::corefile::{Corefile, Directive, lexer, set_forward};

/// A directive, without places.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    words: Vec<String>,
    block: Option<Vec<Model>>,
}

fn word() -> impl Strategy<Value = String> {
    let plain = "[a-z0-9./:_-]{1,8}".prop_filter("imports mean something else", |w| w != "import");
    prop_oneof![4 => plain, 1 => "[a-z #{}\"\n]{1,6}"]
        .prop_filter("what quotes cannot say", |w| lexer::quote(w).is_some())
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["errors", "log", "cache", "loop", "hosts", "kubernetes"])
        .prop_map(str::to_owned)
}

fn line(arguments: usize) -> impl Strategy<Value = Vec<String>> {
    (name(), prop::collection::vec(word(), 0..=arguments)).prop_map(|(name, mut words)| {
        words.insert(0, name);
        words
    })
}

fn directive() -> impl Strategy<Value = Model> {
    let leaf = line(3).prop_map(|words| Model { words, block: None });
    leaf.prop_recursive(2, 8, 3, |inner| {
        let block = prop::option::of(prop::collection::vec(inner, 0..3));
        (line(3), block).prop_map(|(words, block)| Model { words, block })
    })
}

/// Directives of a server block, one of them `forward` if there is an index.
fn body() -> impl Strategy<Value = Vec<Model>> {
    let forward = prop::option::of(prop::collection::vec("192\\.0\\.2\\.[1-9]", 1..4));
    let options = prop::option::of(prop::collection::vec(line(2), 0..3));
    (prop::collection::vec(directive(), 0..5), forward, options, any::<prop::sample::Index>()).prop_map(
        |(mut body, forward, options, at)| {
            if let Some(to) = forward {
                let words = [vec!["forward".to_owned(), ".".to_owned()], to].concat();
                let lines =
                    |lines: Vec<Vec<String>>| lines.into_iter().map(|words| Model { words, block: None });
                let block = options.map(|options| lines(options).collect());
                body.insert(at.index(body.len() + 1), Model { words, block });
            }
            body
        },
    )
}

/// Blanks and comments that make no difference, between words and at ends of lines.
#[derive(Debug, Clone)]
struct Style {
    gaps: Vec<String>,
    ends: Vec<String>,
}

fn style() -> impl Strategy<Value = Style> {
    let end = "( # [a-z{}\" ]{0,6})?\r?\n([ \t]*(#[a-z ]{0,4})?\n){0,2}";
    (prop::collection::vec("[ \t]{1,3}", 1..4), prop::collection::vec(end, 1..4))
        .prop_map(|(gaps, ends)| Style { gaps, ends })
}

struct Printer<'a> {
    style: &'a Style,
    text: String,
    turn: usize,
}

impl Printer<'_> {
    fn gap(&mut self) {
        self.turn += 1;
        self.text += &self.style.gaps[self.turn % self.style.gaps.len()];
    }

    fn end(&mut self) {
        self.turn += 1;
        self.text += &self.style.ends[self.turn % self.style.ends.len()];
    }

    fn lines(&mut self, models: &[Model]) {
        for model in models {
            for word in &model.words {
                self.gap();
                self.text += &lexer::quote(word).unwrap();
            }
            if let Some(block) = &model.block {
                self.gap();
                self.text.push('{');
                self.end();
                self.lines(block);
                self.text.push('}');
            }
            self.end();
        }
    }
}

fn print(servers: &[(&str, &[Model])], style: &Style) -> String {
    let mut printer = Printer { style, text: String::new(), turn: 0 };
    for (key, body) in servers {
        printer.text += key;
        printer.gap();
        printer.text.push('{');
        printer.end();
        printer.lines(body);
        printer.text.push('}');
        printer.end();
    }
    printer.text
}

fn model(directive: &Directive) -> Model {
    let words = [&directive.name].into_iter().chain(&directive.args).map(|t| t.text.clone()).collect();
    Model { words, block: directive.block.as_ref().map(|block| block.iter().map(model).collect()) }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = Corefile::parse(&text);
        let _ = set_forward(&text, ".", &upstreams(&["192.0.2.53"]));
    }

    #[test]
    fn no_heap_of_tokens_makes_it_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            ".", "{", "}", "\n", "import", "(a)", "a", "forward", "\"", "#", "\\", ",", "é", "{$A}", "10.0.0.0/9", "\r\n",
        ]), 0..40),
        gap in "[ ]?",
    ) {
        let text = words.join(&gap);
        if let Ok(edited) = set_forward(&text, ".", &upstreams(&["192.0.2.53"])) {
            let again = set_forward(&edited, ".", &upstreams(&["192.0.2.53"]));
            prop_assert_eq!(again.as_deref(), Ok(&*edited));
        }
    }

    #[test]
    fn what_is_written_is_read(first in body(), second in body(), style in style()) {
        let text = print(&[(".:53", &first), ("example.org", &second)], &style);
        let corefile = Corefile::parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let read: Vec<Vec<Model>> =
            corefile.servers.iter().map(|s| s.plugins.iter().map(model).collect()).collect();
        prop_assert_eq!(read, [first, second]);
    }

    #[test]
    fn an_edit_changes_the_forward_only(first in body(), second in body(), style in style(), port in 1..9999u16) {
        let text = print(&[("example.org", &first), (".", &second)], &style);
        let wanted = [format!("192.0.2.53:{port}"), "tls://192.0.2.54".to_owned()];
        let upstreams = upstreams(&[&wanted[0], &wanted[1]]);
        let edited = set_forward(&text, ".", &upstreams).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;

        let mut expected = second.clone();
        let words = [["forward", "."].map(str::to_owned), wanted].concat();
        match expected.iter_mut().find(|m| m.words[0] == "forward") {
            Some(model) => model.words = words,
            None => expected.push(Model { words, block: None }),
        }
        let corefile = Corefile::parse(&edited).map_err(|e| TestCaseError::fail(format!("{e}\n{edited}")))?;
        let read: Vec<Vec<Model>> =
            corefile.servers.iter().map(|s| s.plugins.iter().map(model).collect()).collect();
        prop_assert_eq!(read, [first, expected]);

        let same_start = text.bytes().zip(edited.bytes()).take_while(|(a, b)| a == b).count();
        let same_end = text.bytes().rev().zip(edited.bytes().rev()).take_while(|(a, b)| a == b).count();
        prop_assert!(edited.len() - same_start.min(edited.len()) - same_end.min(edited.len() - same_start) <= 120);
        let again = set_forward(&edited, ".", &upstreams);
        prop_assert_eq!(again.as_deref(), Ok(&*edited));
    }
}
