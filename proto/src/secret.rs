//! Text that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password, passphrase or key. Wiped when dropped; `Debug` shows `***`; it has no `Display` and no
/// `Serialize` of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The kubeconfig of a cluster's administrator, as it lies on a control-plane node. It travels in a frame and
/// nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubeconfig {
    /// Where it lies.
    pub path: String,
    /// What it says, with the administrator's key.
    #[serde(with = "in_a_frame")]
    pub text: Secret,
}

/// The one way in which a secret is serialised.
mod in_a_frame {
    use super::{Deserialize, Secret};

    pub(super) fn serialize<S: serde::Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".into()))), "Some(***)");
        let kubeconfig = Kubeconfig { path: "/x".into(), text: Secret::new("hunter2".into()) };
        assert_eq!(format!("{kubeconfig:?}"), r#"Kubeconfig { path: "/x", text: *** }"#);
    }

    #[test]
    fn a_kubeconfig_travels() {
        let kubeconfig = Kubeconfig { path: "/x".into(), text: Secret::new("a: \"b\"\n".into()) };
        let json = serde_json::to_vec(&kubeconfig).unwrap();
        assert_eq!(serde_json::from_slice::<Kubeconfig>(&json).unwrap(), kubeconfig);
    }
}
