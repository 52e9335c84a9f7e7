//! The frame of every page: head, menu, style, and the few lines of script that refresh a part of it.
//!
//! Rule: no external request, no inline script but the one from here, every text escaped by `maud`.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style of all pages; charts bring their own.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Refreshes the parts of a page that ask for it.
pub(crate) const SCRIPT: &str = include_str!("refresh.js");

/// The pages of the menu: path and name.
const MENU: [(&str, &str); 1] = [("/autoscaling", "Autoscaling")];

/// A whole page around its content. `path` is the page's own, to mark it in the menu.
pub(crate) fn page(title: &str, path: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Crescendo" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    a.brand href="/" { "Crescendo" }
                    nav aria-label="Pages" {
                        @for (target, name) in MENU {
                            a href=(target) aria-current=[(target == path).then_some("page")] { (name) }
                        }
                    }
                    span #refresh-state role="status" aria-live="polite" {}
                }
                main #content { (content) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}
