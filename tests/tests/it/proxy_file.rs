//! kube-proxy's settings as a file of the host, as k3s and RKE2 have them. There is no k3s here: that its file is
//! wanted is decided by hand, and all else is real.

use std::sync::Arc;

use rackwright::plan::{self, Because};
use rackwright::proxy::config::Wanted;
use rackwright::proxy::home::{DropIn, Home};
use rackwright::ssh::{Agents, Dialer};
use rackwright::survey::{About, Surveyed, Surveyor};
use rackwright::{ask, rack};
use rackwright_lab::{Spec, agents, need_lab};
use rackwright_proto::facts::Depth;
use rackwright_proto::plan::Run;

use crate::kube_client::on_operator;
use crate::run::Rack;

/// Observes the rack's only host, with the file wanted beside what the rack wants.
async fn surveyed(loaded: &rack::Loaded, agents: &Agents) -> (Surveyed, DropIn) {
    let dialer = Arc::new(Dialer::new(ask::answers(loaded, None)));
    let surveyor = Surveyor::new(loaded, &dialer, agents, 1);
    let nodes: Vec<_> = loaded.rack.nodes().collect();
    let mut heard = surveyor.survey(&nodes, About::Rack, Depth::Quick).await;
    let mut one = heard.remove(0).1.unwrap();
    let proxy = loaded.rack.kubernetes().unwrap().proxy.as_ref().unwrap();
    let file = Home::K3s.drop_in(&Wanted::from(proxy)).unwrap();
    one.want_more(Because::new(file.step(), "kubernetes.proxy")).await.unwrap();
    (one, file)
}

#[test]
fn a_mode_in_a_file_is_planned_written_kept_and_taken_back_like_any_other() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.apply();
    let (built, path) = (agents::build(false).unwrap(), rack.rack_yaml());
    let loaded = rack::load(&path).unwrap();
    let file = on_operator(&rack, async || {
        let agents = Agents::load(&built).unwrap();
        let (mut one, file) = surveyed(&loaded, &agents).await;
        let planned = plan::node_plan(&one.session.node, &one.wanted, &one.facts).unwrap().plan;
        let steps: Vec<(String, &str)> =
            planned.steps.iter().map(|s| (s.step.key(), s.why.as_str())).collect();
        assert_eq!(steps, [(format!("file/{}", file.path), "kubernetes.proxy")]);
        let run = Run { id: "by-hand".parse().unwrap(), operator: "a test".into(), plan: planned };
        one.session.ask(async |agent| agent.run(run).await).await.unwrap();
        while one.session.ask(async |agent| agent.next_event().await).await.unwrap().is_some() {}
        let (again, _) = surveyed(&loaded, &agents).await;
        let planned = plan::node_plan(&again.session.node, &again.wanted, &again.facts).unwrap().plan;
        assert!(planned.is_empty(), "{planned:?}");
        file
    });
    let host = rack.host("cp1");
    let read = || host.read(&format!("cat {}", file.path)).unwrap();
    assert_eq!(read(), file.text.trim_end());

    // Nobody tells whose file it is while there is no cluster to ask: it stays.
    assert!(rack.apply().stdout.contains("1 unchanged"));
    assert_eq!(read(), file.text.trim_end());
    rack.ends(0, &["revert", "--yes"]);
    assert!(!host.sh(&format!("test -e {}", file.path)).unwrap().success());
}
