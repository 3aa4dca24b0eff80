//! `ssh`: how to reach hosts and become root there.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::rack::format::{Format, Of};
use crate::rack::words::{EnvName, HostAddress, HostKeyPin, LocalPath, Period, SshConfig, UserName};

/// How to reach hosts and become root there; what is left out follows OpenSSH's configuration.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ssh {
    /// The user to log in as; the operator's own name when OpenSSH's configuration names none.
    #[serde(default)]
    #[schemars(with = "Option<Of<UserName>>")]
    pub user: Option<UserName>,
    /// The SSH port; 22 when OpenSSH's configuration names none.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The private key file, or several, tried in this order.
    #[serde(default)]
    #[schemars(with = "Option<OneOrMany<LocalPath>>")]
    pub identity: Option<OneOrMany<LocalPath>>,
    /// The known_hosts file, or several; `~/.ssh/known_hosts` and the system's when left out.
    #[serde(default, rename = "known_hosts")]
    #[schemars(with = "Option<OneOrMany<LocalPath>>")]
    pub known_hosts: Option<OneOrMany<LocalPath>>,
    /// How to become root after logging in; `none` when left out.
    #[serde(default, rename = "become")]
    pub become_root: Option<Become>,
    /// Where sudo's password comes from, if sudo asks for one; the password itself never stands in a rack.
    #[serde(default)]
    pub become_password: Option<SecretSource>,
    /// Which OpenSSH client configuration to heed: `default`, `none` or a path.
    #[serde(default)]
    #[schemars(with = "Option<Of<SshConfig>>")]
    pub config: Option<SshConfig>,
    /// The hosts to go through, in this order; an empty list goes straight.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub jump: Option<Vec<Jump>>,
    /// How long to wait for a connection; 10s when left out.
    #[serde(default)]
    #[schemars(with = "Option<Of<Period>>")]
    pub connect_timeout: Option<Period>,
    /// Whether to ask the SSH agent for keys; yes when left out.
    #[serde(default)]
    pub agent: Option<bool>,
    /// Where the passphrase of encrypted identities comes from; the passphrase itself never stands in a rack.
    #[serde(default)]
    pub passphrase: Option<SecretSource>,
}

/// How to become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Become {
    /// Not at all: the user is root.
    #[default]
    None,
    /// With sudo.
    Sudo,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SecretSource {
    /// Asked for on the terminal, once.
    Prompt,
    /// An environment variable of `rackwright`.
    Env(#[schemars(with = "Of<EnvName>")] EnvName),
    /// The first line of a file.
    File(#[schemars(with = "Of<LocalPath>")] LocalPath),
}

/// A host to go through.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jump {
    /// Its IP address or DNS name.
    #[schemars(with = "Of<HostAddress>")]
    pub address: HostAddress,
    /// The user to log in as; the one of `ssh` when left out.
    #[serde(default)]
    #[schemars(with = "Option<Of<UserName>>")]
    pub user: Option<UserName>,
    /// Its SSH port; 22 when left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The private key file, or several; those of `ssh` when left out.
    #[serde(default)]
    #[schemars(with = "Option<OneOrMany<LocalPath>>")]
    pub identity: Option<OneOrMany<LocalPath>>,
    /// Its host key, or several: a public key or a `SHA256:` fingerprint, instead of known_hosts.
    #[serde(default)]
    #[schemars(with = "Option<HostKeys>")]
    pub host_key: HostKeys,
}

/// Pinned host keys: none, one or several.
pub type HostKeys = OneOrMany<HostKeyPin>;

/// A value or a list of values; both are written alike in a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Many(Vec<T>),
            One(T),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Many(many) => many,
            Either::One(one) => vec![one],
        }))
    }
}

impl<T: Format> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("one-or-many-{}", T::NAME).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Of::<T>::json_schema(generator);
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}
