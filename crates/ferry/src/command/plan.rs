//! `plan`: what a live migration would be like. It changes nothing.

use api::{Plan, Severity};

use super::{Desk, check};
use crate::args;
use crate::failure::{Exit, Failure};
use crate::{forecast, resolve};

pub(super) async fn plan(desk: &Desk<'_>, typed: &args::Plan) -> Result<Exit, Failure> {
    let plan = desk.client.plan(&typed.domain, &resolve::plan(typed)).await?;
    desk.printer.answer(&plan, |width| text(&plan, width));
    Ok(match plan.check.severity() {
        Severity::Pass | Severity::Warn => Exit::Done,
        Severity::Fail => Exit::Refused,
    })
}

fn text(plan: &Plan, width: usize) -> String {
    let checked = check::text(&plan.check, false, width);
    let expected = plan.prediction.as_ref().map(|prediction| forecast::prediction(prediction, width));
    checked + &expected.unwrap_or_default()
}
