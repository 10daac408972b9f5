"""A client for reverse.py. Arguments: the servers, localhost:4730 if there are none."""

import sys

from gearmancmd import JobFailed, JobTimeout, JSONGearmanClient, ServerUnavailable


def main() -> None:
    with JSONGearmanClient(sys.argv[1:] or ["localhost:4730"], timeout=10) as client:
        try:
            print(client.call("queue", {"command": "reverse", "message": "Hello"}))
            messages = ({"command": "reverse", "message": text} for text in ("namraeg", "dmcnamraeg"))
            for result in client.map("queue", messages):
                print(result)
        except (JobFailed, JobTimeout, ServerUnavailable) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
