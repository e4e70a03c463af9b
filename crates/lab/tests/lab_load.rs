//! Guests that work hard: what they do is counted and heard from outside, also while they move.

use std::time::Instant;

use anyhow::{Result, ensure};
use lab::beats::Beats;
use lab::guest::{GuestOptions, Rewrite};
use lab::limits::{HAPPENS, SILENCE};
use lab::trial::{Trial, play};

/// A guest under such a load is heard, is silent while it is suspended, and loses no page when it moves.
fn check(rewrite: Rewrite, rate_pages: u32) -> Result<()> {
    play(|lab| {
        let mut options = GuestOptions::measured("web1", rewrite, rate_pages);
        options.settings.memory_mib = 32;
        options.settings.records_rate = 20;
        let trial = Trial::begin(lab, options)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let beats = Beats::start(&lab.client, trial.guest.address())?;
        ensure!(beats.heard_within(HAPPENS), "no beat is heard");

        kvm1.ferry_output(["suspend", trial.name()])?;
        let silent_from = Instant::now();
        ensure!(trial.answers(SILENCE).is_err(), "a suspended guest answers");
        let silent_to = Instant::now();
        kvm1.ferry_output(["resume", trial.name()])?;
        ensure!(beats.heard_within(HAPPENS), "no beat is heard after the silence");
        let silence = beats.rhythm(silent_from, Instant::now());
        ensure!(silence.gap >= SILENCE, "suspended for {:?}: {silence:?}", silent_to - silent_from);

        let moved_from = Instant::now();
        trial.moves(kvm1, kvm2, &[])?;
        ensure!(beats.heard_within(HAPPENS), "no beat is heard on the target");
        let (seen, status) = (beats.rhythm(moved_from, Instant::now()), trial.guest.status()?);
        ensure!(seen.pages_changed > 0 && status.memory_changed >= seen.pages_changed, "{seen:?} {status:?}");
        beats.stop()
    })
}

#[test]
fn a_guest_that_rewrites_a_few_bytes_of_many_pages() -> Result<()> {
    check(Rewrite::Word, 20_000)
}

#[test]
fn a_guest_that_rewrites_whole_pages() -> Result<()> {
    check(Rewrite::Page, 5_000)
}
