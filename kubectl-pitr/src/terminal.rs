//! What the output goes to: colours, moving bars and signs outside ASCII depend on it.

use std::io::{IsTerminal, stderr, stdin, stdout};

use crate::args::ColourChoice;

/// What stdout and stderr can show, found once at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Colours on stdout.
    pub colour: bool,
    /// Bars that move, on stderr.
    pub moving: bool,
    /// Signs outside ASCII.
    pub unicode: bool,
    /// Someone who can answer a question.
    pub interactive: bool,
}

impl Terminal {
    /// Plain text with every sign, as into a file.
    pub const PLAIN: Self = Self { colour: false, moving: false, unicode: true, interactive: false };

    pub fn detect(choice: ColourChoice, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).is_some_and(|v| !v.is_empty());
        let dumb = env("TERM").is_some_and(|t| t == "dumb");
        let colour = match choice {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto => stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        };
        Self {
            colour,
            moving: stderr().is_terminal() && !dumb,
            unicode: is_utf8(env),
            interactive: stdin().is_terminal() && stderr().is_terminal(),
        }
    }
}

/// The first of LC_ALL, LC_CTYPE and LANG that is set decides, as in C. Without any, output is a pipe of some program: UTF-8.
fn is_utf8(env: &dyn Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| env(n).filter(|v| !v.is_empty()));
    locale.is_none_or(|l| {
        let l = l.to_ascii_lowercase();
        l.contains("utf-8") || l.contains("utf8")
    })
}

/// A colour that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warning,
    Bad,
    Strong,
}

impl Terminal {
    /// `text` in the tone's colour, if there are colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// `text` with the signs of our own that ASCII lacks replaced.
    pub fn plain_signs(&self, text: &str) -> String {
        if self.unicode {
            return text.to_owned();
        }
        let mut ascii = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '█' => ascii.push('#'),
                '▒' | '░' => ascii.push('.'),
                '▶' => ascii.push('>'),
                '…' => ascii.push_str("..."),
                '√' => ascii.push_str("ok"),
                '‼' => ascii.push_str("!!"),
                '×' => ascii.push_str("xx"),
                '╰' => ascii.push('+'),
                '┤' => ascii.push('|'),
                other => ascii.push(other),
            }
        }
        ascii
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_over_signs() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        assert!(is_utf8(&with(&[])));
        assert!(is_utf8(&with(&[("LANG", "en_GB.UTF-8")])));
        assert!(!is_utf8(&with(&[("LANG", "C")])));
        assert!(!is_utf8(&with(&[("LC_ALL", "POSIX"), ("LANG", "en_GB.UTF-8")])));
        assert!(is_utf8(&with(&[("LC_ALL", ""), ("LANG", "C.utf8")])));
    }

    #[test]
    fn signs_have_an_ascii_form() {
        let ascii = Terminal { unicode: false, ..Terminal::PLAIN };
        assert_eq!(ascii.plain_signs("B██▒▶ √ × …"), "B##.> ok xx ...");
        assert_eq!(Terminal::PLAIN.plain_signs("B██"), "B██");
    }
}
