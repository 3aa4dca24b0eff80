mod given;
mod laws;
mod sim;
mod tool;

use rackwright_proto::step::HostStep;
use rackwright_proto::tool::{Archive, ArchiveFormat, ArchiveSource};
use rackwright_proto::unit::{AtBoot, UnitStep};

use crate::plan::ToolWanted;

fn tool(version: &str) -> ToolWanted {
    let from = ArchiveSource::Pushed;
    let sha256 = rackwright_proto::file::sha256_hex(version.as_bytes()).parse().unwrap();
    let folder = format!("istio-{version}");
    ToolWanted {
        name: "istio".parse().unwrap(),
        version: version.parse().unwrap(),
        archive: Ok(Archive { sha256, format: ArchiveFormat::TarGz, folder, from }),
        programs: vec![("istioctl".parse().unwrap(), "bin/istioctl".into())],
        why: "kubernetes.istio".into(),
    }
}

fn unit_step(name: &str, at_boot: AtBoot, active: Option<bool>) -> HostStep {
    HostStep::Unit(UnitStep { name: name.parse().unwrap(), at_boot, active })
}
