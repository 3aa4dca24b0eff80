//! Kinds of objects, where the API server keeps them, and how lists of them are narrowed.

use serde_json::Value;

use super::ask::escape;

/// A kind of object, and where it is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version: `v1`.
    pub version: String,
    /// Kind: `ConfigMap`.
    pub kind: String,
    /// Its name in paths and in RBAC: `configmaps`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Group and version, and the kinds in it: kind, plural, whether namespaced.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str, bool)]);

/// The kinds that need no discovery. Sources: Kubernetes API reference v1.30 to v1.37, MetalLB's CRDs v0.13 to v0.16.
const KNOWN: &[Group] = &[
    (
        "",
        "v1",
        &[
            ("ConfigMap", "configmaps", true),
            ("Endpoints", "endpoints", true),
            ("Event", "events", true),
            ("Namespace", "namespaces", false),
            ("Node", "nodes", false),
            ("Pod", "pods", true),
            ("Secret", "secrets", true),
            ("Service", "services", true),
            ("ServiceAccount", "serviceaccounts", true),
        ],
    ),
    (
        "apps",
        "v1",
        &[
            ("ControllerRevision", "controllerrevisions", true),
            ("DaemonSet", "daemonsets", true),
            ("Deployment", "deployments", true),
            ("ReplicaSet", "replicasets", true),
            ("StatefulSet", "statefulsets", true),
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        &[
            ("ClusterRole", "clusterroles", false),
            ("ClusterRoleBinding", "clusterrolebindings", false),
            ("Role", "roles", true),
            ("RoleBinding", "rolebindings", true),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        &[
            ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
            ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
        ],
    ),
    ("apiextensions.k8s.io", "v1", &[("CustomResourceDefinition", "customresourcedefinitions", false)]),
    ("policy", "v1", &[("PodDisruptionBudget", "poddisruptionbudgets", true)]),
    ("coordination.k8s.io", "v1", &[("Lease", "leases", true)]),
    ("discovery.k8s.io", "v1", &[("EndpointSlice", "endpointslices", true)]),
    ("networking.k8s.io", "v1", &[("NetworkPolicy", "networkpolicies", true)]),
    (
        "metallb.io",
        "v1beta1",
        &[
            ("BFDProfile", "bfdprofiles", true),
            ("BGPAdvertisement", "bgpadvertisements", true),
            ("BGPPeer", "bgppeers", true),
            ("Community", "communities", true),
            ("IPAddressPool", "ipaddresspools", true),
            ("L2Advertisement", "l2advertisements", true),
            ("ServiceL2Status", "servicel2statuses", true),
        ],
    ),
    ("metallb.io", "v1beta2", &[("BGPPeer", "bgppeers", true)]),
];

impl Resource {
    /// A kind that needs no discovery, by the words of an object: `Resource::known("apps/v1", "DaemonSet")`.
    pub fn known(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kinds =
            KNOWN.iter().filter(|(g, v, _)| (*g, *v) == (group, version)).flat_map(|(.., kinds)| *kinds);
        let (kind, plural, namespaced) = kinds.into_iter().find(|(known, ..)| *known == kind)?;
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: (*kind).to_owned(),
            plural: (*plural).to_owned(),
            namespaced: *namespaced,
        })
    }

    /// The kind of a type: `Resource::of::<Pod>()`.
    pub fn of<K: k8s_openapi::Resource>() -> Self {
        Self::known(K::API_VERSION, K::KIND).unwrap_or_else(|| Self {
            group: K::GROUP.to_owned(),
            version: K::VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
            namespaced: true,
        })
    }

    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the objects of a namespace, or of all.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let (api, plural) = (self.api_version(), &self.plural);
        match namespace {
            Some(namespace) => format!("{root}/{api}/namespaces/{}/{plural}", escape(namespace)),
            None => format!("{root}/{api}/{plural}"),
        }
    }

    /// `ConfigMap kube-system/coredns`, for messages.
    pub(super) fn words(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }
}

/// Which objects of a kind are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Of one namespace; of all if `None`.
    pub namespace: Option<String>,
    /// Label selector in kubectl's words: `k8s-app=kube-dns`.
    pub labels: Option<String>,
    /// Field selector: `spec.nodeName=cp1`.
    pub fields: Option<String>,
    /// More objects than this are an error, rather than memory without end.
    pub most: usize,
    /// Whether only their metadata are wanted: what a Secret holds then stays where it is.
    pub bare: bool,
    /// Whether that is so from the second page on: the first 500 are had whole.
    pub bare_rest: bool,
}

impl Default for Selector {
    fn default() -> Self {
        Self { namespace: None, labels: None, fields: None, most: 20_000, bare: false, bare_rest: false }
    }
}

impl Selector {
    /// All objects of the cluster.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of a namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }

    /// With these labels.
    pub fn labels(self, labels: impl Into<String>) -> Self {
        Self { labels: Some(labels.into()), ..self }
    }

    /// With these fields.
    pub fn fields(self, fields: impl Into<String>) -> Self {
        Self { fields: Some(fields.into()), ..self }
    }

    /// The one of this name.
    pub fn named(self, name: &str) -> Self {
        self.fields(format!("metadata.name={name}"))
    }

    /// Their metadata alone.
    pub fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// The first page of them whole, and of the others their metadata alone: what is enough to be known of many.
    pub fn bare_rest(self) -> Self {
        Self { bare_rest: true, ..self }
    }

    /// At most so many.
    pub fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// `Pods in kube-system with k8s-app=kube-dns`, for messages.
    pub(super) fn words(&self, resource: &Resource) -> String {
        let place = self.namespace.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
        let with: Vec<&str> =
            [&self.labels, &self.fields].into_iter().flatten().map(String::as_str).collect();
        let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(",")) };
        format!("{}{place}{with}", resource.plural)
    }
}

/// Objects as they were at one version of the cluster.
#[derive(Debug, Clone)]
pub struct Listed<K> {
    /// The objects, by namespace and name.
    pub items: Vec<K>,
    /// The resourceVersion of the list.
    pub version: String,
}

/// A text at a path of an object; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
