/// The pages' only stylesheet, inline and admitted by its hash. Light and dark follow the browser.
enum Stylesheet {
    static let text = """
        :root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1b1f27; --soft: #5a6272;
          --line: #dde1e8; --accent: #2457c5; --on-accent: #fff; --danger: #b3261e;
          --good-bg: #dcf3e4; --good: #14602f; --wait-bg: #e1ebfd; --wait: #1c458f;
          --warn-bg: #fdeccd; --warn: #774300; --bad-bg: #fbdedb; --bad: #8c1d18; --off-bg: #e6e9ee; --off: #464e5d; }
        @media (prefers-color-scheme: dark) { :root { --page: #12151b; --card: #1b1f27; --ink: #e7eaf0; --soft: #a0a9b9;
          --line: #303744; --accent: #86abff; --on-accent: #0c1a38; --danger: #ff9d94;
          --good-bg: #143a24; --good: #8ce2ac; --wait-bg: #1b2f57; --wait: #abc6ff;
          --warn-bg: #43310c; --warn: #ffd083; --bad-bg: #4c1d1a; --bad: #ffb5ae; --off-bg: #2a303b; --off: #b8c0cd; } }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--page); color: var(--ink);
          font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
        a { color: var(--accent); }
        :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
        .skip { position: absolute; left: -999rem; } .skip:focus { left: 1rem; top: 1rem; }
        header { background: var(--card); border-bottom: 1px solid var(--line); }
        header div { max-width: 68rem; margin: auto; padding: .75rem 1.25rem; display: flex; gap: 1.5rem;
          align-items: center; flex-wrap: wrap; }
        header strong { font-size: 1.05rem; letter-spacing: -.01em; }
        nav { display: flex; gap: 1.25rem; flex: 1; }
        nav a { text-decoration: none; color: var(--soft); padding: .2rem 0; border-bottom: 2px solid transparent; }
        nav a[aria-current] { color: var(--ink); border-color: var(--accent); }
        nav a:hover { color: var(--ink); }
        main { max-width: 68rem; margin: auto; padding: 1.5rem 1.25rem 3rem; }
        main.narrow { max-width: 36rem; padding-top: 3rem; }
        h1 { font-size: 1.5rem; letter-spacing: -.02em; line-height: 1.25; margin: 0 0 1rem; }
        h2 { font-size: 1.1rem; margin: 0; }
        h2 a { color: inherit; text-decoration: none; } h2 a:hover { text-decoration: underline; }
        p { margin: 0 0 .9rem; }
        .card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem;
          margin-bottom: 1rem; }
        .card > :last-child { margin-bottom: 0; }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1rem;
          margin: 0 0 1.5rem; }
        .tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .9rem 1.1rem; }
        .tiles dt { color: var(--soft); font-size: .85rem; }
        .tiles dd { margin: 0; font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
        .tiles dd small { font-size: .85rem; font-weight: 400; }
        .top { display: flex; gap: .75rem; align-items: center; flex-wrap: wrap; margin-bottom: .35rem; }
        .badge { border-radius: 99rem; padding: .1rem .65rem; font-size: .85rem; font-weight: 600; white-space: nowrap; }
        .good { background: var(--good-bg); color: var(--good); } .wait { background: var(--wait-bg); color: var(--wait); }
        .warn { background: var(--warn-bg); color: var(--warn); } .bad { background: var(--bad-bg); color: var(--bad); }
        .off { background: var(--off-bg); color: var(--off); }
        .soft { color: var(--soft); } small { color: var(--soft); }
        dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem 1.5rem;
          margin: .9rem 0; }
        dl.facts dt { color: var(--soft); font-size: .85rem; }
        dl.facts dd { margin: 0; overflow-wrap: anywhere; }
        dl.facts dd small { display: block; }
        code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
          background: var(--off-bg); border-radius: .3rem; padding: .1em .35em; overflow-wrap: anywhere; }
        .scopes { display: inline-flex; flex-wrap: wrap; gap: .3rem; }
        .note { border-radius: .5rem; padding: .7rem .9rem; margin: .9rem 0; overflow-wrap: anywhere; }
        .buttons { display: flex; gap: .6rem; flex-wrap: wrap; margin-top: 1rem; }
        .buttons form { display: contents; }
        .button { font: inherit; font-weight: 600; border-radius: .5rem; padding: .45rem 1rem; cursor: pointer;
          text-decoration: none; border: 1px solid var(--line); background: var(--card); color: var(--ink);
          display: inline-block; }
        .button:hover { border-color: var(--soft); }
        .main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
        .danger { color: var(--danger); } .danger.main { background: var(--danger); border-color: var(--danger);
          color: var(--card); }
        label { display: block; font-weight: 600; margin-bottom: .35rem; }
        input { font: inherit; width: 100%; padding: .55rem .7rem; border: 1px solid var(--soft); border-radius: .5rem;
          background: var(--page); color: var(--ink); }
        .plain { background: none; border: 0; padding: 0; font: inherit; color: var(--soft); cursor: pointer;
          text-decoration: underline; }
        .buttons + p { margin-top: 1rem; }
        footer { max-width: 68rem; margin: auto; padding: 0 1.25rem 2rem; color: var(--soft); font-size: .85rem; }
        main.narrow + footer { max-width: 36rem; }

        """
}
