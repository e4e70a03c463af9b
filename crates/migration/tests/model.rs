//! Runs the model of the handover with its small bound, so that a change of a decision that breaks it turns red here
//! before anybody runs the full bound (`cargo run --release -p migration --example model`).

#[path = "../examples/model/properties.rs"]
mod properties;
#[path = "../examples/model/report.rs"]
mod report;
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
    let report = report::check(world::Faults::SMALL, 2);
    assert!(report.holds, "{report}");
}
