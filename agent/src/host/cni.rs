//! How the container runtime is told to make pods' networks.

use rackwright_proto::examine::CniFile;
use serde_json::Value;

use super::Host;
use super::read::SMALL;

/// Where runtimes look.
const FOLDER: &str = "/etc/cni/net.d";
/// The most files that are read.
const MOST: usize = 16;

impl Host {
    /// The configurations in the runtime's order: it takes the first.
    pub(crate) fn cni(&self) -> Vec<CniFile> {
        let is = |name: &String| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
        let files = self.names(FOLDER).into_iter().filter(is).take(MOST);
        let read = files.filter_map(|name| {
            let path = format!("{FOLDER}/{name}");
            let text = self.read_text(&path, SMALL).ok()??;
            Some(parse(path, &text))
        });
        read.collect()
    }
}

/// A list of plugins, or one plugin (the CNI specification, section 1). What is not JSON has no plugins.
fn parse(path: String, text: &str) -> CniFile {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let one = [document.clone()];
    let plugins = document["plugins"].as_array().map_or(&one[..], Vec::as_slice);
    let word = |value: &Value| value.as_str().map(str::to_owned);
    CniFile {
        path,
        name: word(&document["name"]).unwrap_or_default(),
        plugins: plugins.iter().filter_map(|plugin| word(&plugin["type"])).collect(),
        mtu: plugins.iter().find_map(|plugin| plugin["mtu"].as_u64()?.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_plugins_are_read() {
        let list = r#"{"name": "lab", "plugins": [{"type": "bridge", "mtu": 1450}, {"type": "portmap"}]}"#;
        let file = parse("/a".into(), list);
        assert_eq!(
            (file.name.as_str(), file.plugins.join(" ").as_str(), file.mtu),
            ("lab", "bridge portmap", Some(1450))
        );
        let file = parse("/b".into(), r#"{"name": "x", "type": "calico"}"#);
        assert_eq!((file.plugins, file.mtu), (vec!["calico".to_owned()], None));
        assert_eq!(parse("/c".into(), "no").plugins, Vec::<String>::new());
    }
}
