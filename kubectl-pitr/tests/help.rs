//! What the help of each command shows as an example is understood by the program itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use kubectl_pitr::args::command;

/// The examples in a help text: lines that begin with the program's name, with those that continue them.
fn examples(help: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in help.lines().map(str::trim) {
        let (text, continues) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
        match found.last_mut() {
            Some(last) if goes_on => last.push_str(text),
            _ if line.starts_with("kubectl pitr ") => found.push(text.to_owned()),
            _ => {}
        }
        goes_on = continues && (goes_on || line.starts_with("kubectl pitr "));
    }
    found
}

/// Words as a shell cuts them, up to what it does with the output.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '|' | '>' if !quoted => break,
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Every command below this one, with the help that says what it needs: its own, or that of the command that it belongs to.
fn leaves(command: &clap::Command, path: &str, inherited: &str, found: &mut Vec<(String, String)>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let help = if help.is_empty() { inherited.to_owned() } else { help };
    for sub in command.get_subcommands() {
        leaves(sub, &format!("{path} {}", sub.get_name()), &help, found);
    }
    found.push((path.to_owned(), help));
}

#[test]
fn each_command_shows_examples_that_work_and_says_what_it_needs() {
    let mut all = Vec::new();
    for sub in command("kubectl-pitr").get_subcommands() {
        leaves(sub, sub.get_name(), "", &mut all);
    }
    assert!(all.len() > 25, "{all:?}");
    for (path, help) in all {
        let examples = examples(&help);
        assert!(!examples.is_empty(), "\"{path} --help\" has no example");
        for example in examples {
            let given = words(&example);
            let arguments = std::iter::once("kubectl-pitr".to_owned()).chain(given.into_iter().skip(2));
            if let Err(error) = command("kubectl-pitr").try_get_matches_from(arguments) {
                panic!("the help of \"{path}\" shows what does not work: {example}\n{error}");
            }
        }
    }
}

#[test]
fn commands_say_what_rights_they_need() {
    let silent: Vec<_> = command("kubectl-pitr")
        .get_subcommands()
        .filter(|sub| {
            let help = |command: &clap::Command| command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let texts: Vec<_> = std::iter::once(help(sub)).chain(sub.get_subcommands().map(help)).collect();
            !texts.iter().any(|text| ["Needs", "needs no", "no permission"].iter().any(|word| text.contains(word)))
        })
        .map(|sub| sub.get_name().to_owned())
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn shell_words_are_cut_as_a_shell_does() {
    assert_eq!(
        words("kubectl pitr a 'b c' --d='e f' '' | kubectl apply -f -"),
        ["kubectl", "pitr", "a", "b c", "--d=e f", ""]
    );
    assert_eq!(examples("Example:\n  kubectl pitr a \\\n    --b c\nNeeds: x"), ["kubectl pitr a --b c"]);
}
