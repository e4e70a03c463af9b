//! Owner records on a server that no host has mounted, where that server does not do what it should. Each test has a network
//! namespace of its own, in which its server has the portmapper's port; so they need root, and fail without. What a real
//! server does is a matter of the lab.

use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nfs3_client::nfs3_types::mount::{self, fhandle3, mountres3, mountres3_ok};
use nfs3_client::nfs3_types::nfs3::{
    self, LOOKUP3res, LOOKUP3resok, Nfs3Option, Nfs3Result, READ3res, READ3resfail, READ3resok, nfs_fh3,
    nfsstat3,
};
use nfs3_client::nfs3_types::portmap;
use nfs3_client::nfs3_types::rpc::{
    accept_stat_data, accepted_reply, call_body, fragment_header, msg_body, opaque_auth, reply_body, rpc_msg,
};
use nfs3_client::nfs3_types::xdr_codec::{Opaque, Pack, Unpack};
use storage::{RecordError, create_record, read_record};

const RECORD: &str = "nfs://127.0.0.1/share/web1.qcow2.ferry";
const BYTES: &[u8] = b"{}\n";

/// What the server does with a call that it has read.
#[derive(Clone)]
enum Server {
    /// Nothing.
    Silent,
    /// Ends the connection in the middle of its answer.
    Ending,
    /// Says that its answer has 2 GiB.
    Boasting,
    /// Answers as it should, but that it forgets the file so many times between its name and its bytes.
    Forgetting(Arc<AtomicUsize>),
}

/// What comes of reading the record from this server, and of making one there. `paused`: time passes as soon as nothing else
/// is to be done.
fn with_server(server: Server, paused: bool) -> [Result<Option<Vec<u8>>, RecordError>; 2] {
    let thread = thread::spawn(move || {
        #[expect(unsafe_code, reason = "rustix has no other call for it that is not deprecated")]
        // SAFETY: only the network namespace is unshared, not the table of file descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("this test needs the right to make network namespaces: run it as root");
        let up =
            Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2 is installed");
        assert!(up.success());
        let listener = TcpListener::bind(("127.0.0.1", portmap::PMAP_PORT)).unwrap();
        thread::spawn(move || serve(&listener, &server));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
        runtime.block_on(async {
            let read = read_record(Path::new(RECORD)).await;
            [read, create_record(Path::new(RECORD), BYTES).await.map(|()| None)]
        })
    });
    thread.join().unwrap()
}

fn serve(listener: &TcpListener, server: &Server) {
    for stream in listener.incoming() {
        let (stream, server) = (stream.unwrap(), server.clone());
        thread::spawn(move || converse(stream, &server));
    }
}

fn converse(mut stream: TcpStream, server: &Server) {
    let mut mark = [0; 4];
    while stream.read_exact(&mut mark).is_ok() {
        let mut call = vec![0; fragment_header::from(mark).fragment_length() as usize];
        stream.read_exact(&mut call).unwrap();
        match server {
            Server::Silent => {}
            Server::Ending => return stream.write_all(&[0x80, 0, 0, 100, 1, 2, 3]).unwrap(),
            Server::Boasting => stream.write_all(&[0xff; 4]).unwrap(),
            Server::Forgetting(times) => stream.write_all(&reply(&call, times)).unwrap(),
        }
    }
}

fn packed(value: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.pack(&mut bytes).unwrap();
    bytes
}

fn reply(call: &[u8], times: &AtomicUsize) -> Vec<u8> {
    let (rpc_msg { xid, body }, _) = rpc_msg::unpack(&mut Cursor::new(call)).unwrap();
    let msg_body::CALL(call) = body else { panic!("no call: {body:?}") };
    let accepted = accepted_reply { verf: opaque_auth::default(), reply_data: accept_stat_data::SUCCESS };
    let mut reply = packed(&rpc_msg { xid, body: msg_body::REPLY(reply_body::MSG_ACCEPTED(accepted)) });
    reply.extend(answer(&call, times));
    let mark = fragment_header::new(u32::try_from(reply.len()).unwrap(), true).into_xdr_buf();
    [&mark, &reply[..]].concat()
}

fn answer(call: &call_body<'_>, times: &AtomicUsize) -> Vec<u8> {
    match (call.prog, call.proc) {
        (portmap::PROGRAM, 3) => packed(&u32::from(portmap::PMAP_PORT)),
        (mount::PROGRAM, 1) => packed(&mountres3::Ok(mountres3_ok {
            fhandle: fhandle3(Opaque::borrowed(b"directory")),
            auth_flavors: vec![1],
        })),
        (nfs3::PROGRAM, 3) => packed(&LOOKUP3res::Ok(LOOKUP3resok {
            object: nfs_fh3 { data: Opaque::borrowed(b"file") },
            obj_attributes: Nfs3Option::None,
            dir_attributes: Nfs3Option::None,
        })),
        (nfs3::PROGRAM, 6) if times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() => {
            let gone: READ3res<'_> = Nfs3Result::Err((nfsstat3::NFS3ERR_STALE, READ3resfail::default()));
            packed(&gone)
        }
        (nfs3::PROGRAM, 6) => packed(&READ3res::Ok(READ3resok {
            file_attributes: Nfs3Option::None,
            count: u32::try_from(BYTES.len()).unwrap(),
            eof: true,
            data: Opaque::borrowed(BYTES),
        })),
        // Nothing is made: it is a read-only filesystem, whose attributes are not told.
        (nfs3::PROGRAM, 8) => packed(&[0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0]),
        other => panic!("it was not to be asked: {other:?}"),
    }
}

fn less(times: usize) -> Option<usize> {
    times.checked_sub(1)
}

#[track_caller]
fn check_fails(server: Server, paused: bool, expect: &str) {
    for failed in with_server(server, paused) {
        let error = failed.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let said = format!("{error}: {cause}");
        assert!(said.contains(expect), "{said}");
    }
}

#[test]
fn a_silent_server_is_given_up() {
    check_fails(Server::Silent, true, "no answer within 15 s");
}

#[test]
fn a_connection_that_ends_is_told_at_once() {
    check_fails(Server::Ending, false, "early eof");
}

#[test]
fn a_reply_of_any_length_is_not_waited_for() {
    check_fails(Server::Boasting, false, "too long");
}

#[test]
fn a_record_that_is_replaced_meanwhile_is_read_again() {
    let check = |forgets: usize, expect: &[u8]| {
        let times = Arc::new(AtomicUsize::new(forgets));
        let [read, made] = with_server(Server::Forgetting(Arc::clone(&times)), false);
        assert_eq!(read.unwrap().as_deref(), Some(expect));
        assert_eq!(times.load(Ordering::Relaxed), 0, "it was not forgotten");
        assert!(matches!(made, Err(RecordError::ReadOnly { .. })), "{made:?}");
    };
    check(0, BYTES);
    check(2, BYTES);
    let [read, _] = with_server(Server::Forgetting(Arc::new(AtomicUsize::new(usize::MAX))), false);
    assert!(read.unwrap_err().to_string().starts_with("cannot read record"));
}
