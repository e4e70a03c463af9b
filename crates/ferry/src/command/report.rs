//! `report`: what was expected of migrations, beside what came.

use uuid::Uuid;

use super::{Desk, migrations};
use crate::failure::{Exit, Failure};
use crate::forecast;

pub(super) async fn all(desk: &Desk<'_>) -> Result<Exit, Failure> {
    let accuracy = desk.client.accuracy().await?;
    desk.printer.answer(&accuracy, |width| forecast::accuracy(&accuracy, width));
    Ok(Exit::Done)
}

pub(super) async fn one(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    let migration = desk.client.migration(id).await?;
    desk.printer.answer(&migration, |width| {
        let expected = match &migration.report.prediction {
            Some(prediction) => forecast::prediction(prediction, width),
            None => "Nothing was expected of it: too little was known when it began.\n".to_owned(),
        };
        format!("{}\n{expected}", migrations::text(&migration, width))
    });
    Ok(Exit::Done)
}
