//! An API server that answers each path with what a test says, and everything else with "not found".

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};

/// `GET /api/v1/...` and the status and body that it gets. One that ends in `/*` stands for every name below it.
pub(crate) type Answers = BTreeMap<String, (u16, Value)>;

/// A refusal as the API server words it.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let message = format!("the API server says {reason}");
    (code, json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": message}))
}

/// Starts one with these answers for as long as the test runs, and tells its address.
pub(crate) fn serve(answers: Answers) -> String {
    start(move |method, target, body| answer(method, target, body, &answers))
}

/// The same that answers method, target and body as this says.
pub(crate) fn start(answer: impl Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || converse(&stream, &*answer));
        }
    });
    address
}

fn converse(stream: &TcpStream, answer: &dyn Fn(&str, &str, &Value) -> (u16, Value)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream.try_clone().unwrap();
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut header) = (0, String::new());
        while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            header.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = request.split(' ');
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, answer) = answer(words.next().unwrap(), words.next().unwrap(), &body);
        let text = answer.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(text.as_bytes())).is_err() {
            return;
        }
    }
}

fn answer(method: &str, target: &str, body: &Value, answers: &Answers) -> (u16, Value) {
    let path = target.split('?').next().unwrap();
    if path.ends_with("/selfsubjectaccessreviews") {
        let mut review = body.clone();
        review["status"] = json!({"allowed": true});
        return (201, review);
    }
    let any = path.rsplit_once('/').map(|(above, _)| format!("{method} {above}/*"));
    let known = answers.get(&format!("{method} {path}")).or_else(|| answers.get(&any?));
    known.cloned().unwrap_or_else(|| refusal(404, "NotFound"))
}

/// The program with nothing of this machine's around it.
pub(crate) fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-pitr"));
    command.args(words).env_remove("KUBECONFIG").env("HOME", "/nonexistent").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    command
}

/// Exit code, stdout and stderr.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
