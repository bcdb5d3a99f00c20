"""Measure every target: ``make bench``. Prints each with its figure and whether it is met; takes about ten minutes.

Each measurement is a program of its own (``python -m bench.<name>``), which prints its targets with ``report``.
"""

import re
import subprocess
import sys

_REPORTED = re.compile(r".* \(wanted: .*\) (met|NOT MET)")
_MEASUREMENTS = (
    ("bench.closed_loop", "completions"),
    ("bench.closed_loop", "enrolments"),
    ("bench.closed_loop", "purchases"),
    ("bench.end_to_end",),
    ("bench.large_course",),
    ("bench.reads",),
    ("bench.at_rest",),
)


def report(what: str, value: float, wanted: float, *, at_most: bool = False) -> None:
    """Print a figure, and whether it reaches the target."""
    met = value <= wanted if at_most else value >= wanted
    bound = "at most" if at_most else "at least"
    print(f"{what + ':':56} {value:,.2f} (wanted: {bound} {wanted:,}) {'met' if met else 'NOT MET'}", flush=True)


def main() -> None:
    """Run the measurements one after the other, because each needs all cores; print all targets again at the end."""
    reported = []
    for measurement in _MEASUREMENTS:
        more = sys.argv[1:] if measurement == ("bench.end_to_end",) else []
        print(f"\n{' '.join(measurement)}", flush=True)
        command = [sys.executable, "-m", *measurement, *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(line, end="", flush=True)
                if _REPORTED.fullmatch(line.rstrip()):
                    reported.append(line)
        if running.returncode:
            reported.append(f"{' '.join(measurement)} failed with {running.returncode}: NOT MET\n")
    print(f"\nAll targets:\n{''.join(reported)}", end="")
    sys.exit(any("NOT MET" in line for line in reported))


if __name__ == "__main__":
    main()
