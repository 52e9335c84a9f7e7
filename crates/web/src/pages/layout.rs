//! The frame of every page: head, menu, style, and the few lines of script.
//!
//! Rule: no external request, no inline script but the one from here, every text escaped by `maud`.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::api::Shared;

/// The style of all pages; charts bring their own.
const STYLE: &str = include_str!("style.css");

/// Refreshes the parts of a page that ask for it.
const REFRESH: &str = include_str!("refresh.js");

/// Completes expressions.
const COMPLETE: &str = include_str!("complete.js");

/// The pages of the menu that stand under "Status": path and name.
const STATUS: [(&str, &str); 6] = [
    ("/targets", "Targets"),
    ("/service-discovery", "Service Discovery"),
    ("/rules", "Rules"),
    ("/tsdb-status", "TSDB Status"),
    ("/status", "Runtime & Build Information"),
    ("/flags", "Command-Line Flags"),
];

/// What stands around the content of every page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// What stands before the path of every link.
    base: String,
    title: String,
    has_autoscaling: bool,
    has_server: bool,
    notifications: Vec<String>,
}

impl Frame {
    pub(crate) fn of(shared: &Shared) -> Self {
        let parts = &shared.parts;
        let notifications = parts.notifications.active();
        Self {
            base: base_path(&parts.options.external_url, &parts.options.route_prefix),
            title: parts.options.page_title.clone(),
            has_autoscaling: parts.autoscaling.is_some(),
            has_server: parts.server.is_some(),
            notifications: notifications.into_iter().map(|found| found.text).collect(),
        }
    }

    /// A frame without a server around it.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        let title = "Crescendo".to_owned();
        Self { base: String::new(), title, has_autoscaling: true, has_server: false, notifications: Vec::new() }
    }

    /// A link to a page.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A link to the query page with an expression.
    pub(crate) fn query_link(&self, expr: &str, tab: &str) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("g0.expr", expr).append_pair("g0.tab", tab);
        self.link(&format!("/query?{}", pairs.finish()))
    }

    /// A whole page around its content. `path` is the page's own, to mark it in the menu.
    pub(crate) fn page(&self, title: &str, path: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · " (self.title) }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        a.brand href=(self.link("/")) { (self.title) }
                        nav aria-label="Pages" { (self.menu(path)) }
                        span #refresh-state role="status" aria-live="polite" {}
                    }
                    @for text in &self.notifications { p.notice role="alert" { (text) } }
                    main #content { (content) }
                    script { (PreEscaped(REFRESH)) (PreEscaped(COMPLETE)) }
                }
            }
        }
    }

    fn menu(&self, path: &str) -> Markup {
        let entry = |(target, name): (&str, &str)| {
            html! { a href=(self.link(target)) aria-current=[(target == path).then_some("page")] { (name) } }
        };
        let within = STATUS.iter().any(|(target, _)| *target == path) || path == "/config";
        html! {
            @if self.has_autoscaling { (entry(("/autoscaling", "Autoscaling"))) }
            (entry(("/query", "Graph")))
            (entry(("/alerts", "Alerts")))
            details.menu {
                summary aria-current=[within.then_some("page")] { "Status" }
                div {
                    @for page in STATUS {
                        @if self.has_server || page.0 != "/flags" { (entry(page)) }
                    }
                    @if self.has_server { (entry(("/config", "Configuration"))) }
                }
            }
        }
    }
}

/// The path of the external URL, or the prefix of routes; without a slash at its end.
fn base_path(external_url: &str, route_prefix: &str) -> String {
    let path = match external_url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
        None => route_prefix,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stand_below_the_external_url() {
        for (url, prefix, base) in [
            ("", "", ""),
            ("", "/prom/", "/prom"),
            ("http://a:9090", "", ""),
            ("https://a/b/c/", "/", "/b/c"),
            ("https://a/b?x#y", "", "/b"),
        ] {
            assert_eq!(base_path(url, prefix), base, "{url} {prefix}");
        }
    }
}
