mod given;
mod laws;
mod sim;

use rackwright_proto::step::HostStep;
use rackwright_proto::unit::{AtBoot, UnitStep};

fn unit_step(name: &str, at_boot: AtBoot, active: Option<bool>) -> HostStep {
    HostStep::Unit(UnitStep { name: name.parse().unwrap(), at_boot, active })
}
