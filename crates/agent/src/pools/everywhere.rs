//! An order about pools, on this host or on every host that it knows: each does it for itself, and each answers. Main
//! functions: [`obey`], [`everywhere`].

use std::path::Path;
use std::sync::Arc;

use api::{HostPools, Pool, PoolOrder, PoolRequest};
use domain::PoolKind;
use futures_util::future::join_all;

use crate::failure::{Failure, PoolFailure};
use crate::http::problem;
use crate::node::Node;
use crate::pools;

/// Does an order on this host; the pools that it was about are the answer.
pub(crate) async fn obey(node: &Node, order: PoolOrder) -> Result<Vec<Pool>, Failure> {
    let pool = match order {
        PoolOrder::List => return Ok(pools::list(node).await),
        PoolOrder::Show(pool) => pools::show(node, &pool).await?,
        PoolOrder::Define(request) => {
            let name = pools::read(request.clone())?.name;
            pools::define(node, request)?;
            pools::show(node, &name).await?
        }
        PoolOrder::Undefine(pool) => return pools::undefine(node, &pool).map(|()| Vec::new()),
        PoolOrder::Start(pool) => pools::start(node, &pool).await?,
        PoolOrder::Stop(pool) => pools::stop(node, &pool).await?,
        PoolOrder::Autostart { pool, enabled } => pools::set_autostart(node, &pool, enabled).await?,
    };
    Ok(vec![pool])
}

/// Does an order of another host. Files of this host outside `allowed_paths` do not become disks by it: a pool elsewhere
/// must be a mount, and what it is mounted on must be empty.
pub(crate) async fn obey_agent(node: &Node, order: PoolOrder) -> Result<Vec<Pool>, Failure> {
    if let PoolOrder::Define(request) = &order {
        let pool = pools::read(request.clone())?;
        let free = match pool.kind {
            PoolKind::Dir => false,
            PoolKind::Netfs(_) => is_free(&pool.path),
        };
        let kept = pools::known(node, &pool.name).is_ok_and(|known| known.pool.path == pool.path);
        if !free && !kept && !node.config.allows(&pool.path) {
            return Err(PoolFailure::PlaceInUse { path: pool.path }.into());
        }
    }
    obey(node, order).await
}

/// Whether nothing is there but an empty directory.
fn is_free(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Does an order on this host and on all that it knows, at the same time. A pool that is defined has the same UUID on all
/// of them; where this host refuses its definition, no other is asked.
pub(crate) async fn everywhere(node: &Arc<Node>, order: PoolOrder) -> Result<Vec<HostPools>, Failure> {
    let order = match order {
        PoolOrder::Define(request) => PoolOrder::Define(PoolRequest::Xml(pools::define(node, request)?)),
        order @ (PoolOrder::List
        | PoolOrder::Show(_)
        | PoolOrder::Undefine(_)
        | PoolOrder::Start(_)
        | PoolOrder::Stop(_)
        | PoolOrder::Autostart { .. }) => order,
    };
    let here = async { answer(&node.config.host, obey(node, order.clone()).await) };
    let others = node.neighbours.list().into_iter().map(|other| {
        let order = &order;
        async move {
            let asked = async {
                let client = node.neighbours.client(&other.name)?;
                let failed = |source| failed(&other.name, source);
                client.order_pools(order).await.map_err(failed)
            };
            answer(&other.name, asked.await)
        }
    });
    let (here, others) = tokio::join!(here, join_all(others));
    let mut answers = [vec![here], others].concat();
    compare(&mut answers);
    Ok(answers)
}

/// Compares each pool with that of the first host that has one by its name.
fn compare(answers: &mut [HostPools]) {
    for place in 1..answers.len() {
        let (before, rest) = answers.split_at_mut(place);
        let HostPools { host: there, pools, differences, .. } = &mut rest[0];
        for pool in pools {
            let same_name = |answer: &HostPools| {
                Some((answer.host.clone(), answer.pools.iter().find(|it| it.name == pool.name)?.clone()))
            };
            let Some((here, first)) = before.iter().find_map(same_name) else { continue };
            let name = &pool.name;
            differences.extend(migration::pool::differences(&first, pool).into_iter().map(|it| {
                format!("{} of pool {name} is {} on {there}, and {} on {here}", it.what, it.there, it.here)
            }));
        }
    }
}

fn failed(host: &str, source: client::ClientError) -> Failure {
    match source {
        client::ClientError::Problem(problem) => {
            Failure::RefusedByTarget { host: host.to_owned(), problem: Box::new(problem) }
        }
        source => Failure::Neighbour { host: host.to_owned(), source: Box::new(source) },
    }
}

fn answer(host: &str, done: Result<Vec<Pool>, Failure>) -> HostPools {
    let host = host.to_owned();
    match done {
        Ok(pools) => HostPools { host, pools, differences: Vec::new(), problem: None },
        Err(failure) => HostPools {
            host,
            pools: Vec::new(),
            differences: Vec::new(),
            problem: Some(problem::problem(&failure)),
        },
    }
}
