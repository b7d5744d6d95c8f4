//! Every figure that we publish, measured beside what a user would use instead, in one run:
//!
//! ```text
//! make bench                        # builds release programs, runs all, writes docs/benchmarks.md's table to stdout
//! pitr-bench archive                # archiving 1 GiB of binlogs: memory, time, size, beside zstd on the same files
//! pitr-bench recoverable            # from COMMIT to "the bucket proves it", through an S3 server
//! pitr-bench cost                   # what a sidecar takes from the server beside it: the same load with and without, in turns
//! pitr-bench restore                # replay, beside mysqlbinlog | mysql and plain replication, same base and settings
//! pitr-bench status                 # what is recoverable, over an archive of 100,000 binlogs: time, memory, requests
//! pitr-bench known                  # what a sidecar at rest holds in memory of an archive of many binlogs (11 minutes)
//! pitr-bench start                  # from the start of the plugin to its first answer, beside kubectl
//! ```

mod archive;
mod cost;
mod known;
mod memory;
mod process;
mod recoverable;
mod restore;
mod start;
mod status;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum as _};

use self::workload::Workload;

/// Measures kubectl pitr beside the tools that a user would use instead.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Archive closed binlogs into a directory, beside zstd on the same files
    Archive {
        /// How much binlog to make, in MiB
        #[arg(long, default_value_t = 1024)]
        mib: u64,
        /// How often each is measured; the least counts
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// The peak of resident memory while closed binlogs are archived with 4 workers; more than 96 MiB is a failure
    Memory {
        /// Length of one binlog that hardly compresses, and of one transaction, in MiB
        #[arg(long, default_value_t = 1024)]
        mib: u64,
        /// How many such binlogs (links to one file)
        #[arg(long, default_value_t = 20)]
        times: u64,
    },
    /// What a sidecar at rest holds in memory of an archive of many binlogs, after two listings (11 minutes)
    Known {
        /// How many binlogs (repeatable) [default: 1, 15000, 100000]
        #[arg(long)]
        binlogs: Vec<u64>,
    },
    /// From COMMIT until the bucket alone proves that the transaction is recoverable
    Recoverable {
        /// How many commits to follow
        #[arg(long, default_value_t = 40)]
        commits: u32,
        /// While four sessions write all the time, with a tail_interval of 1 s
        #[arg(long)]
        loaded: bool,
    },
    /// What archiving takes from the server beside it
    Cost {
        /// Transactions of one load
        #[arg(long, default_value_t = 20_000)]
        transactions: u64,
        /// How many pairs of loads, with and without a sidecar; the median counts
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Replay, beside mysqlbinlog | mysql and plain replication
    Restore {
        /// What the log is full of (repeatable) [default: each]
        #[arg(long, value_enum)]
        workload: Vec<Workload>,
        /// Length of the log in hundredths of the usual one (small transactions: 90,000)
        #[arg(long, default_value_t = 100)]
        hundredths: u64,
        /// How often each way is measured; the median counts
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// The pipe with a production server's settings too
        #[arg(long)]
        durable: bool,
    },
    /// From the start of the plugin to its first answer, beside kubectl
    Start {
        /// How often each is started; the median counts
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
    /// What is recoverable, told from the bucket alone, over an archive of many binlogs
    Status {
        /// How many binlogs (repeatable) [default: 1000, 10000, 100000]
        #[arg(long)]
        binlogs: Vec<u64>,
        /// How often each is measured; the median counts
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().bench {
        Bench::Archive { mib, rounds } => archive::run(mib, rounds).await,
        Bench::Memory { mib, times } => memory::run(mib, times).await,
        Bench::Known { binlogs } => {
            let usual = vec![1, 15_000, 100_000];
            known::run(if binlogs.is_empty() { &usual } else { &binlogs }).await
        }
        Bench::Recoverable { commits, loaded } => recoverable::run(commits, loaded).await,
        Bench::Cost { transactions, rounds } => cost::run(transactions, rounds).await,
        Bench::Start { rounds } => start::run(rounds).await,
        Bench::Status { binlogs, rounds } => {
            let usual = vec![1_000, 10_000, 100_000];
            status::run(if binlogs.is_empty() { &usual } else { &binlogs }, rounds).await
        }
        Bench::Restore { workload, hundredths, rounds, durable } => {
            let each = Workload::value_variants();
            restore::run(if workload.is_empty() { each } else { &workload }, hundredths, rounds, durable).await
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
