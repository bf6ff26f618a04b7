"""The test's own Slurm: on loopback only, and gone when its test is over."""

import psutil
import pytest
from cluster import running_cluster, wait_for


def daemons(cluster):
    pids = [(cluster.folder / f"{name}.pid").read_text() for name in ("slurmctld", "slurmd", "munge")]
    return [psutil.Process(int(pid)) for pid in pids]


def test_it_listens_on_loopback_only(cluster):
    listening = [end for daemon in daemons(cluster) for end in daemon.net_connections() if end.status == "LISTEN"]
    assert len(listening) == 2
    assert {end.laddr.ip for end in listening} == {"127.0.0.1"}


@pytest.mark.usefixtures("cluster")
def test_nothing_is_left_of_it_and_its_jobs_when_a_test_fails():
    with pytest.raises(ZeroDivisionError), running_cluster() as cluster:
        cluster.call("sbatch", "--mem=100", "--time=5", "--output=/dev/null", "--wrap=exec sleep 1234")
        processes = [*daemons(cluster), *wait_for(sleeping, 10, "the job sleeps")]
        raise ZeroDivisionError
    assert not cluster.folder.exists()
    assert [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def sleeping():
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "1234"]]
