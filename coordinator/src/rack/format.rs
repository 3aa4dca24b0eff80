//! The formats of texts: what the schema calls them, and the parser behind each name.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::net::{AddrParseError, IpAddr};

use rackwright_proto::name::{IfName, ModuleName, NameError, NodeName, SysctlKey};
use rackwright_proto::range::{AddressRange, RangeError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::words::{
    AbsolutePath, Cidr, EnvName, FindingName, HostAddress, HostKeyPin, HttpsUrl, InterfaceChoice, Label,
    LabelKey, LabelValue, LocalPath, Mode, ObjectName, Period, Prose, Sha256, SshConfig, SysctlValue, Text,
    Upstream, UserName, Version, WordError,
};

/// What a text must be, by the name that the schema gives it.
pub trait Format {
    /// The `format` in the schema.
    const NAME: &'static str;
    /// The JSON types that an editor shall accept: YAML reads `1.30` and `0644` as numbers.
    const NUMBERS_TOO: bool;
}

/// Stands in a schema for a text that parses as `T`; the type `T` itself may belong to another room.
pub struct Of<T>(PhantomData<T>);

impl<T: Format> JsonSchema for Of<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if T::NUMBERS_TOO {
            json_schema!({"type": ["string", "number"], "format": T::NAME})
        } else {
            json_schema!({"type": "string", "format": T::NAME})
        }
    }
}

/// Stands in a schema for a map whose keys parse as `K`.
pub struct MapOf<K, V>(PhantomData<(K, V)>);

impl<K: Format, V: Format> JsonSchema for MapOf<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}-to-{}", K::NAME, V::NAME).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (keys, values) = (Of::<K>::json_schema(generator), Of::<V>::json_schema(generator));
        json_schema!({"type": "object", "propertyNames": keys, "additionalProperties": values})
    }
}

macro_rules! formats {
    ($($name:literal $type:ty $(, $numbers:ident)?;)*) => {
        $(impl Format for $type {
            const NAME: &'static str = $name;
            const NUMBERS_TOO: bool = formats!(@ $($numbers)?);
        })*

        /// All names of formats.
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$($name),*];

        /// Whether `text` parses as the type behind `format`; a format that is not ours says yes.
        pub(super) fn check(format: &str, text: &str) -> Result<(), WordError> {
            match format {
                $($name => text.parse::<$type>().map(drop).map_err(WordError::from),)*
                _ => Ok(()),
            }
        }
    };
    (@) => { false };
    (@ numbers) => { true };
}

formats! {
    "absolute-path" AbsolutePath;
    "address-range" AddressRange;
    "cidr" Cidr;
    "dns-label" Label;
    "dns-subdomain" ObjectName;
    "environment-variable" EnvName;
    "finding-name" FindingName;
    "host" HostAddress;
    "host-key" HostKeyPin;
    "https-url" HttpsUrl;
    "interface" InterfaceChoice;
    "interface-name" IfName;
    "ip-address" IpAddr;
    "label-key" LabelKey;
    "label-value" LabelValue, numbers;
    "local-path" LocalPath;
    "mode" Mode, numbers;
    "module-name" ModuleName;
    "node-name" NodeName;
    "period" Period;
    "prose" Prose;
    "resolver" Upstream;
    "sha256" Sha256;
    "ssh-config" SshConfig;
    "sysctl-key" SysctlKey;
    "sysctl-value" SysctlValue, numbers;
    "text" Text;
    "user-name" UserName, numbers;
    "version" Version, numbers;
}

/// Formats whose text is for people, where typographic quotes may be meant.
pub(super) fn is_for_people(format: &str) -> bool {
    matches!(format, "prose" | "text")
}

impl From<NameError> for WordError {
    fn from(error: NameError) -> Self {
        Self { message: error.to_string(), help: None }
    }
}

impl From<RangeError> for WordError {
    fn from(error: RangeError) -> Self {
        Self::new(error.to_string(), error.meant())
    }
}

impl From<AddrParseError> for WordError {
    fn from(_: AddrParseError) -> Self {
        Self::new("not an IP address", "write an IPv4 or IPv6 address")
    }
}
