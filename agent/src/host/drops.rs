//! Rules of nftables that drop or reject, as nft(8) prints them. It is only asked where it makes the kernel load
//! nothing.

use std::time::Duration;

use futures_util::future::join_all;
use rackwright_proto::examine::{DropRule, Examined};
use rackwright_proto::traces::{Chain, Family};

use super::Host;
use super::modules::Modules;
use super::nftables;
use crate::fault::chain;

/// How long nft may take for one table.
const DEADLINE: Duration = Duration::from_secs(2);
/// The most tables that are read.
const TABLES: usize = 16;
/// The longest text of a rule that is told.
const RULE: usize = 300;

impl Host {
    /// Rules that drop or reject, and what could not be read.
    pub(crate) async fn drop_rules(&self) -> (Vec<DropRule>, Vec<String>) {
        match Modules::read(self) {
            Ok(modules) if modules.cannot_autoload("nf_tables") => {}
            _ => return Default::default(),
        }
        let tables = match self.run_ok(&["nft", "list", "tables"], DEADLINE).await {
            Ok(output) => tables(&output.stdout),
            Err(e) => return (Vec::new(), vec![format!("rules that drop are not read: {}", chain(&e))]),
        };
        let asked = tables.iter().take(TABLES).map(|(family, table)| async move {
            let said = self.run_ok(&["nft", "-s", "-n", "list", "table", family, table], DEADLINE).await;
            said.map(|output| rules(family, table, &output.stdout)).map_err(|e| chain(&e))
        });
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(rules) => found.extend(rules),
                Err(trouble) => troubles.push(trouble),
            }
        }
        found.truncate(Examined::DROPS);
        (found, troubles)
    }

    /// Chains that drop forwarded packets unless a rule lets them pass.
    pub(crate) fn closed_forward(&self) -> Vec<Chain> {
        match Modules::read(self) {
            Ok(modules) if modules.cannot_autoload("nf_tables") => {
                nftables::closed_forward(Family::Ip).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

/// `table inet filter`, line by line; kube-proxy's own drops are meant.
fn tables(text: &str) -> Vec<(String, String)> {
    let table = |line: &str| {
        let mut words = line.strip_prefix("table ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter_map(table).filter(|(_, name)| name != "kube-proxy").collect()
}

/// The rules of one table that drop or reject.
fn rules(family: &str, table: &str, text: &str) -> Vec<DropRule> {
    let (mut chain, mut hook, mut found) = ("", "", Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            (chain, hook) = (name, "");
        } else if let Some(at) = line.strip_prefix("type ").and_then(|rest| rest.split(" hook ").nth(1)) {
            hook = at.split(' ').next().unwrap_or_default();
            // Those of family ip are told by `closed_forward`, with or without nft.
            if hook == "forward" && family != "ip" && at.contains("policy drop") {
                let rule = "policy drop".to_owned();
                found.push(DropRule { place: format!("{family} {table} {chain}"), hook: hook.into(), rule });
            }
        } else if !chain.is_empty() && line.split(' ').any(|word| matches!(word, "drop" | "reject")) {
            let rule: String = line.chars().take(RULE).collect();
            // Kubernetes' own guards drop what is marked, or what martians send to loopback.
            if !chain.starts_with("KUBE-") {
                found.push(DropRule { place: format!("{family} {table} {chain}"), hook: hook.into(), rule });
            }
        } else if line == "}" {
            chain = "";
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_drop_are_found_with_their_chain_and_hook() {
        let text = "table inet filter {\n\tset blocked {\n\t\ttype ipv4_addr\n\t}\n\n\tchain input {\n\
            \t\ttype filter hook input priority filter; policy accept;\n\
            \t\tct state 0x2,0x4 accept\n\t\tiifname \"eth0\" udp dport 8472 counter drop\n\t\tjump more\n\t}\n\n\
            \tchain more {\n\t\ttcp dport { 1, 2 } reject with tcp reset\n\t}\n\n\
            \tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n\n\
            \tchain KUBE-FIREWALL {\n\t\tmeta mark & 0x00008000 == 0x00008000 drop\n\t}\n}\n";
        let told: Vec<_> =
            rules("inet", "filter", text).into_iter().map(|r| (r.place, r.hook, r.rule)).collect();
        let row = |place: &str, hook: &str, rule: &str| (place.to_owned(), hook.to_owned(), rule.to_owned());
        let wanted = [
            row("inet filter input", "input", "iifname \"eth0\" udp dport 8472 counter drop"),
            row("inet filter more", "", "tcp dport { 1, 2 } reject with tcp reset"),
            row("inet filter forward", "forward", "policy drop"),
        ];
        assert_eq!(told, wanted);
        // Of family ip that is told otherwise.
        assert_eq!(rules("ip", "filter", text).len(), 2);
        let listed = tables("table ip kube-proxy\ntable inet filter\nnothing\n");
        assert_eq!(listed, [("inet".to_owned(), "filter".to_owned())]);
    }
}
