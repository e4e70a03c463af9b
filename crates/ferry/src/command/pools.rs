//! `pool`: storage pools, on one host or on all that it knows.

use api::{HostPools, Pool, PoolKind, PoolOrder, PoolParts, PoolRequest};
use serde_json::json;

use super::{Desk, define};
use crate::args::{DefinePool, KindWord, PoolCommand};
use crate::failure::{Exit, Failure};
use crate::printer;

pub(super) async fn pool(desk: &Desk<'_>, typed: &PoolCommand) -> Result<Exit, Failure> {
    match typed {
        PoolCommand::Define(typed) => return define(desk, typed).await,
        PoolCommand::List(every) if every.all_hosts => return everywhere(desk, PoolOrder::List, "").await,
        PoolCommand::List(_) => {
            let pools = desk.client.pools().await?;
            desk.printer.answer(&pools, |width| printer::pools::list(&pools, width));
        }
        PoolCommand::Start(typed) => {
            if typed.every.all_hosts {
                return everywhere(desk, PoolOrder::Start(typed.pool.clone()), "started").await;
            }
            told(desk, &desk.client.start_pool(&typed.pool).await?, "started");
        }
        PoolCommand::Stop(typed) => {
            if typed.every.all_hosts {
                return everywhere(desk, PoolOrder::Stop(typed.pool.clone()), "stopped").await;
            }
            told(desk, &desk.client.stop_pool(&typed.pool).await?, "stopped");
        }
        PoolCommand::Info(typed) => {
            if typed.every.all_hosts {
                return everywhere(desk, PoolOrder::Show(typed.pool.clone()), "").await;
            }
            let pool = desk.client.pool(&typed.pool).await?;
            desk.printer.answer(&pool, |width| printer::pools::pool(&pool, width));
        }
        PoolCommand::Dumpxml(typed) => {
            let xml = desk.client.pool_xml(&typed.pool).await?;
            if desk.printer.json() {
                desk.printer.line(&json!({ "xml": xml }));
            } else {
                printer::out(&xml);
            }
        }
        PoolCommand::Undefine(typed) => {
            if typed.every.all_hosts {
                return everywhere(desk, PoolOrder::Undefine(typed.pool.clone()), "undefined").await;
            }
            desk.client.undefine_pool(&typed.pool).await?;
            let undefined = json!({ "undefined": typed.pool });
            desk.printer.answer(&undefined, |_| format!("Pool {} is undefined.\n", typed.pool));
        }
        PoolCommand::Autostart(typed) => {
            let (pool, enabled) = (typed.one.pool.clone(), !typed.disable);
            let word = if enabled { "started with its host" } else { "no more started with its host" };
            if typed.one.every.all_hosts {
                return everywhere(desk, PoolOrder::Autostart { pool, enabled }, word).await;
            }
            told(desk, &desk.client.autostart_pool(&pool, enabled).await?, word);
        }
    }
    Ok(Exit::Done)
}

fn told(desk: &Desk<'_>, pool: &Pool, word: &str) {
    desk.printer.answer(pool, |_| format!("Pool {} is {word}.\n", pool.name));
}

async fn define(desk: &Desk<'_>, typed: &DefinePool) -> Result<Exit, Failure> {
    let (request, text) = match &typed.file {
        Some(file) => {
            let (path, xml) = define::read(file)?;
            (PoolRequest::Xml(xml.clone()), Some((path, xml)))
        }
        None => (PoolRequest::Parts(parts(typed)), None),
    };
    let refused = |error| match text {
        Some((path, xml)) => define::refused(error, path, xml),
        None => Failure::from(error),
    };
    if typed.every.all_hosts {
        let order = PoolOrder::Define(request);
        let answers = desk.client.order_pools_everywhere(&order).await.map_err(refused)?;
        return Ok(answered(desk, &answers, "defined"));
    }
    told(desk, &desk.client.define_pool(&request).await.map_err(refused)?, "defined");
    Ok(Exit::Done)
}

fn parts(typed: &DefinePool) -> PoolParts {
    PoolParts {
        name: typed.name.clone().unwrap_or_default(),
        kind: match typed.kind {
            Some(KindWord::Netfs) => PoolKind::Netfs,
            Some(KindWord::Dir) | None => PoolKind::Dir,
        },
        path: typed.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default(),
        source: typed.source.clone(),
        nfs_version: typed.nfs_version.clone(),
        options: typed.options.clone(),
    }
}

async fn everywhere(desk: &Desk<'_>, order: PoolOrder, word: &str) -> Result<Exit, Failure> {
    let answers = desk.client.order_pools_everywhere(&order).await?;
    Ok(answered(desk, &answers, word))
}

/// Shows every host's answer. Refused means that no host has changed anything.
fn answered(desk: &Desk<'_>, answers: &[HostPools], word: &str) -> Exit {
    desk.printer.answer(&answers, |width| printer::pools::everywhere(answers, word, width));
    let statuses = || answers.iter().map(|answer| answer.problem.as_ref().map(|problem| problem.status));
    if statuses().all(|status| status.is_none()) {
        Exit::Done
    } else if statuses().all(|status| status.is_some_and(|status| (400..500).contains(&status))) {
        Exit::Refused
    } else {
        Exit::Failed
    }
}
