//! Istio's injectors as a cluster has them: which revisions and tags their webhooks serve, and their own settings.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::wins::{DEFAULT, INJECTION, Labels, REVISION};

/// What the ConfigMap of an injector says of selection, under `config`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    policy: String,
    never_inject_selector: Vec<LabelSelector>,
    always_inject_selector: Vec<LabelSelector>,
    /// Whether pods get a sidecar that do not say themselves.
    #[serde(skip)]
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: "enabled".into(),
            never_inject_selector: Vec::new(),
            always_inject_selector: Vec::new(),
            enabled: true,
        }
    }
}

impl Settings {
    /// From the text in the ConfigMap `istio-sidecar-injector`; Istio's defaults where it cannot be read.
    pub fn parse(text: &str) -> Self {
        let mut settings: Self = serde_saphyr::from_str(text).unwrap_or_default();
        settings.enabled = settings.policy != "disabled";
        settings
    }

    /// Settings with these selectors.
    pub fn new(enabled: bool, never: Vec<LabelSelector>, always: Vec<LabelSelector>) -> Self {
        Self {
            policy: if enabled { "enabled" } else { "disabled" }.into(),
            never_inject_selector: never,
            always_inject_selector: always,
            enabled,
        }
    }

    /// Whether a `neverInjectSelector` selects a pod.
    pub fn never(&self, labels: &Labels) -> bool {
        self.never_inject_selector.iter().any(|s| !is_empty(s) && selects(s, labels))
    }

    /// Whether an `alwaysInjectSelector` selects a pod.
    pub fn always(&self, labels: &Labels) -> bool {
        self.always_inject_selector.iter().any(|s| !is_empty(s) && selects(s, labels))
    }
}

/// One injector: the webhooks that lead to one istiod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injector {
    /// The revision of that istiod: `default`, `canary`.
    pub revision: String,
    /// The values of `istio.io/rev` that it answers for: revisions and tags.
    pub names: BTreeSet<String>,
    /// Whether it answers for `istio-injection=enabled`.
    pub default: bool,
    /// Whether it answers for whatever has no label (`enableNamespacesByDefault`).
    pub auto: bool,
    /// Its own settings.
    pub settings: Settings,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injectors {
    /// `None` where the cluster is not known: then every revision is taken to be there.
    hooks: Option<Vec<Injector>>,
}

impl Injectors {
    /// Those of a cluster that nothing is known of.
    pub fn unknown() -> Self {
        Self { hooks: None }
    }

    /// These.
    pub fn of(hooks: Vec<Injector>) -> Self {
        Self { hooks: Some(hooks) }
    }

    /// From the cluster's webhooks, and the texts of the injectors' settings by revision.
    pub fn read(hooks: &[MutatingWebhookConfiguration], settings: &BTreeMap<String, String>) -> Self {
        let of = |hook: &MutatingWebhookConfiguration| {
            let mut injector = injector(hook)?;
            let text = settings.get(&injector.revision);
            injector.settings = text.map(|text| Settings::parse(text)).unwrap_or_default();
            Some(injector)
        };
        Self::of(hooks.iter().filter_map(of).collect())
    }

    /// The same and one more, of which nothing but its revision is known: one that is about to be installed.
    #[must_use]
    pub fn with(mut self, revision: &str) -> Self {
        if self.named(revision).is_some() && (revision != DEFAULT || self.default().is_some()) {
            return self;
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.push(Injector {
                revision: revision.to_owned(),
                names: BTreeSet::from([revision.to_owned()]),
                default: revision == DEFAULT,
                ..Injector::default()
            });
        }
        self
    }

    /// The one for `istio-injection=enabled`.
    pub fn default(&self) -> Option<Injector> {
        self.find(DEFAULT, |hook| hook.default)
    }

    /// The one for `istio.io/rev=name`.
    pub fn named(&self, name: &str) -> Option<Injector> {
        self.find(name, |hook| hook.names.contains(name))
    }

    /// The one for pods without any label.
    pub fn auto(&self) -> Option<Injector> {
        self.hooks.as_ref()?.iter().find(|hook| hook.auto).cloned()
    }

    fn find(&self, name: &str, serves: impl Fn(&Injector) -> bool) -> Option<Injector> {
        match &self.hooks {
            Some(hooks) => hooks.iter().find(|hook| serves(hook)).cloned(),
            None => Some(Injector { revision: name.to_owned(), ..Injector::default() }),
        }
    }

    /// What is served, for people: `webhooks serve default, prod`.
    pub fn words(&self) -> String {
        let names: BTreeSet<&str> =
            self.hooks.iter().flatten().flat_map(|hook| hook.names.iter().map(String::as_str)).collect();
        match names.is_empty() {
            true => "there is no webhook of Istio's injector".to_owned(),
            false => format!("webhooks serve {}", names.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }
}

fn injector(hook: &MutatingWebhookConfiguration) -> Option<Injector> {
    let segments: Vec<&MutatingWebhook> = hook
        .webhooks
        .iter()
        .flatten()
        .filter(|segment| segment.name.ends_with("sidecar-injector.istio.io"))
        .collect();
    if segments.is_empty() {
        return None;
    }
    let selectors =
        segments.iter().flat_map(|s| [s.namespace_selector.as_ref(), s.object_selector.as_ref()]).flatten();
    let values = |key: &str| -> BTreeSet<String> {
        let expressions = selectors.clone().flat_map(|s| s.match_expressions.iter().flatten());
        let of = expressions.filter(|e| e.key == key && e.operator == "In");
        of.flat_map(|e| e.values.iter().flatten().cloned()).collect()
    };
    let labels = hook.metadata.labels.clone().unwrap_or_default();
    Some(Injector {
        revision: labels.get(REVISION).cloned().unwrap_or_else(|| DEFAULT.to_owned()),
        names: values(REVISION),
        default: values(INJECTION).contains("enabled"),
        auto: segments.iter().any(|segment| segment.name.starts_with("auto.")),
        settings: Settings::default(),
    })
}

fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().all(BTreeMap::is_empty)
        && selector.match_expressions.iter().all(Vec::is_empty)
}

/// Whether a selector selects labels, as the API server has it.
pub fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = || value.is_some_and(|v| expression.values.iter().flatten().any(|one| one == v));
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
