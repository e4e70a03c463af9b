//! Runs the model of the handover with its small bound, so that a change of a decision that breaks it turns red here
//! before anybody runs the full bound (`cargo run --release -p migration --example model`).

#[path = "../examples/model/properties.rs"]
mod properties;
#[path = "../examples/model/report.rs"]
mod report;
#[path = "../examples/model/shut_off.rs"]
mod shut_off;
#[path = "../examples/model/source.rs"]
mod source;
#[path = "../examples/model/surroundings.rs"]
mod surroundings;
#[path = "../examples/model/target.rs"]
mod target;
#[path = "../examples/model/world.rs"]
mod world;

#[test]
fn the_handover_holds_within_the_small_bound() {
    let report = report::check(|| properties::Handover::new(world::Faults::SMALL), 2);
    assert!(report.holds, "{report}");
}

#[test]
fn the_handover_of_a_domain_that_is_shut_off_holds() {
    let report = report::check(|| shut_off::ShutOff { faults: world::Faults::SMALL }, 2);
    assert!(report.holds, "{report}");
}
