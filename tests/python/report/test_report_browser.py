"""A report in a real browser: silent, still, asking nobody, and never wider than its window."""

from __future__ import annotations

import html
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest
import report_cases as cases

from icpo.report.page import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Pixels.
WIDTHS = (320, 390, 800, 1400)

#: Loads pages into frames, and says how each came out.
OUTSIDE = """<!doctype html><title>waiting</title><body><script>
const said = {}, pages = %s;
async function look(name, url, width) {
  const frame = document.createElement('iframe');
  frame.width = width; frame.height = 900; frame.src = url;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  await new Promise(done => setTimeout(done, 100));
  const page = frame.contentDocument, root = page.documentElement;
  const words = [...page.querySelectorAll('svg.chart text')];
  said[name] = {
    title: page.title,
    beyond: root.scrollWidth - root.clientWidth,
    sections: page.querySelectorAll('main > section').length,
    lowest: Math.min(...words.map(one => one.getBoundingClientRect().height)),
    numbers: page.querySelectorAll('data').length,
  };
}
(async () => {
  for (const [name, url, width] of pages) await look(name, url, width);
  document.title = JSON.stringify(said);
})();
</script>"""

#: What a report must not do, so that it is known that it would be noticed.
CONTROL = "".join(cases.HOSTILE) + "<title>x</title><script>console.log('heard')</script>"


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    return found


class Site:
    """Pages by path, and the paths that were asked for, whatever host they were asked of."""

    def __init__(self, pages):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                page = pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"" if page is None else page.encode("utf-8", "replace"))

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def visit(browser, folder, pages, frames):
    """What a browser says of pages: by frame, on its console, and which paths it asked for."""
    with Site({**pages, "/": OUTSIDE % json.dumps(frames)}) as site:
        words = [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            # It would ask for the time.
            "--disable-features=NetworkTimeServiceQuerying",
            "--no-first-run",
            f"--user-data-dir={folder}",
            # Whatever is asked for, and of whom, arrives here.
            f"--host-resolver-rules=MAP * 127.0.0.1:{site.port}",
            "--enable-logging=stderr",
            "--window-size=1500,1000",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"http://127.0.0.1:{site.port}/",
        ]
        done = subprocess.run(words, capture_output=True, timeout=120, check=True)
        title = re.search(r"<title>(.*?)</title>", done.stdout.decode(), re.DOTALL)
        console = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
        return json.loads(html.unescape(title[1])), console, site.asked


def test_reports(browser, tmp_path):
    texts = "\n".join(cases.HOSTILE)
    folders = [
        cases.trainer_run(tmp_path / "icpo", text=texts),
        cases.trainer_run(tmp_path / "grpo", algorithm="grpo", text=texts),
        cases.verl_run(tmp_path / "verl"),
        cases.eval_run(tmp_path / "eval", text=texts),
    ]
    frames = [[f"at {width}", "/report.html", width] for width in WIDTHS]
    said, console, asked = visit(
        browser, tmp_path / "profile", {"/report.html": report(folders)}, frames
    )
    assert console == []
    assert {*asked} <= {"/", "/report.html", "/favicon.ico"}
    for width in WIDTHS:
        one = said[f"at {width}"]
        assert one["title"] == "4 runs, icpo report"
        assert one["beyond"] == 0, f"scrolls sideways at {width} pixels"
        assert one["sections"] == 10 and one["numbers"] > 300
        # In a chart, too, letters can be read.
        assert one["lowest"] >= 9


def test_control(browser, tmp_path):
    """The same texts unescaped are caught in each of the ways."""
    fetched = CONTROL.replace("127.0.0.1:9", "somebody.example")
    pages = {
        "/control.html": f"<!doctype html><title>before</title>{fetched}",
        "/wide.html": "<!doctype html><div style='width:900px'>wide</div>",
    }
    frames = [["control", "/control.html", 390], ["wide", "/wide.html", 390]]
    said, console, asked = visit(browser, tmp_path, pages, frames)
    assert said["control"]["title"] == "owned"
    assert said["wide"]["beyond"] > 0
    assert any("heard" in line for line in console)
    assert "/x" in asked
