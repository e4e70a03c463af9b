//! What a domain's task does with what it is asked meanwhile. The QEMU is real, and has no machine.

use std::path::Path;

use qemu::accelerator::Accelerator;
use qemu::command_line::CommandLine;

use super::*;

#[tokio::test]
async fn a_guest_is_destroyed_while_its_qemu_is_busy_with_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let line = CommandLine::probe("none", Accelerator::Tcg, None);
    let (run, log) = (directory.path().join("run"), directory.path().join("log"));
    let emulator = Path::new("/usr/bin/qemu-system-x86_64");
    let guest = Process::spawn(emulator, &line, &run, &log).await.unwrap();
    let (asks, inbox) = mpsc::channel(KEEPER_QUEUE);
    let mut inbox = Inbox { asks: inbox, waiting: VecDeque::new() };

    let ask = |ask| assert!(asks.try_send(ask).is_ok());
    ask(Ask::Show(oneshot::channel().0));
    inbox.meanwhile(Some(guest.clone()), async { tokio::task::yield_now().await }).await;
    assert_eq!(guest.exit(), None, "nobody asked for that");
    ask(Ask::Destroy(oneshot::channel().0));
    let busy = async { _ = tokio::time::timeout(Duration::from_secs(10), guest.exited()).await };
    inbox.meanwhile(Some(guest.clone()), busy).await;

    let ended = guest.exit();
    guest.kill();
    assert!(ended.is_some(), "what it was busy with came first");
    assert!(matches!(inbox.next().await, Some(Ask::Show(_))), "in their order");
    assert!(matches!(inbox.next().await, Some(Ask::Destroy(_))), "and each is answered");
}
