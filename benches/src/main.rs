//! Every figure that we publish, measured beside what a user would use instead, in one run:
//!
//! ```text
//! make bench                        # builds release programs, runs all, writes docs/benchmarks.md's table to stdout
//! pitr-bench archive                # archiving 1 GiB of binlogs: memory, time, size, beside zstd on the same files
//! pitr-bench recoverable            # from COMMIT to "the bucket proves it", through an S3 server
//! pitr-bench restore                # replay, beside mysqlbinlog | mysql on the same base with the same settings
//! ```

mod archive;
mod process;
mod recoverable;
mod restore;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// From COMMIT until the bucket alone proves that the transaction is recoverable
    Recoverable {
        /// How many commits to follow
        #[arg(long, default_value_t = 40)]
        commits: u32,
    },
    /// Replay of small transactions, beside mysqlbinlog | mysql
    Restore {
        /// Transactions to replay
        #[arg(long, default_value_t = 40_000)]
        transactions: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().bench {
        Bench::Archive { mib, rounds } => archive::run(mib, rounds).await,
        Bench::Recoverable { commits } => recoverable::run(commits).await,
        Bench::Restore { transactions } => restore::run(transactions).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
