"""How long does a question to an agent take whose answer is there at once? `python -m bench.agents [QUESTIONS]`."""

import sys
import time

import httpx2

from bench.measuring import bench, summary
from dev.testing.agent import Agent
from dev.testing.stack import wait_until

QUESTIONS = 200
ADMIN_KEY = "the-key-of-the-benchmark-of-agents-0123456789"


def main() -> None:
    """Measure `/api/ask` on PostgreSQL, one question after the other, to one agent that answers at once."""
    questions = int(sys.argv[1]) if len(sys.argv) > 1 else QUESTIONS
    with bench(postgres=True, ADMIN_KEY=ADMIN_KEY) as running:
        url = running.stack.url
        made = httpx2.post(f"{url}/admin/users/add", json={"admin_key": ADMIN_KEY}, timeout=60).json()
        user = httpx2.Client(base_url=url, headers={"Authorization": made["token"]}, timeout=60)
        with Agent(url=url, token=ADMIN_KEY) as agent:
            wait_until(lambda: agent.id is not None, "the agent to be connected")
            took = []
            for number in range(questions + 1):
                begun = time.monotonic()
                user.post("/api/ask", json={"content": f"Question {number}"}).raise_for_status()
                took.append((time.monotonic() - begun) * 1000)
        user.close()
    print(f"first: {took[0]:.1f} ms; then: {summary(took[1:], 'ms')}")


if __name__ == "__main__":
    main()
