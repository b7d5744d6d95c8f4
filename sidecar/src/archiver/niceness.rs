//! `pipeline.nice`: the archiver stands back when the server wants the processor.

use rustix::process::{Pid, setpriority_process};

/// Makes all threads of this process nice; those that they start later inherit it. It can fail where a process may not be less nice
/// than it is, and then says so.
pub(crate) fn be_nice(nice: i32) {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        if let Err(reason) = setpriority_process(id, nice) {
            tracing::warn!(event = "not-nice", nice, %reason);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::be_nice;

    #[test]
    fn all_threads_and_those_that_they_start_are_nice() {
        let before = getpriority_process(None).unwrap();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (answer, answered) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            told.recv().unwrap();
            answer.send(getpriority_process(None).unwrap()).unwrap();
        });
        be_nice(before + 1);
        tell.send(()).unwrap();
        assert_eq!(answered.recv().unwrap(), before + 1);
        thread.join().unwrap();
        let child = std::thread::spawn(|| getpriority_process(None).unwrap());
        assert_eq!(child.join().unwrap(), before + 1);
    }
}
