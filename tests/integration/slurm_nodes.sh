#!/bin/bash
# Two virtual Slurm nodes on this machine, in namespaces of their own: nothing of it lasts or is seen
# outside. Runs the command it is given when the nodes are up.
#   unshare -m -p -f -n -u -i --mount-proc --kill-child --propagation private slurm_nodes.sh DIR COMMAND...
set -euo pipefail
dir=$1
shift
ip link set lo up
ip addr add 10.99.0.1/32 dev lo # Slurm looks for an address that is not loopback's
printf '127.0.0.1 localhost\n10.99.0.1 swnode\n' >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts
hostname swnode
for folder in /run /etc/munge /etc/slurm /var/lib/munge /var/log/munge; do
  mkdir -p "$folder"
  mount -t tmpfs -o mode=755 tmpfs "$folder"
done
dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
mkdir -p /run/munge
chown -R munge:munge /etc/munge /run/munge /var/lib/munge /var/log/munge
chmod 400 /etc/munge/munge.key
setpriv --reuid=munge --regid=munge --clear-groups munged --force >/dev/null
mkdir -p "$dir/ctld" "$dir/n1" "$dir/n2"
cat >/etc/slurm/slurm.conf <<END
ClusterName=test
SlurmctldHost=swnode
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$dir/ctld
SlurmdSpoolDir=$dir/%n
SlurmdPidFile=/run/%n.pid
SlurmctldPidFile=/run/slurmctld.pid
SlurmdLogFile=$dir/%n.log
SlurmctldLogFile=$dir/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeHostname=swnode Port=17001 CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=swnode Port=17002 CPUs=2 RealMemory=4000
PartitionName=short Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
END
slurmctld
slurmd -N n1
slurmd -N n2
for _ in $(seq 100); do
  [ "$(sinfo -h -o %D -t idle 2>/dev/null)" = 2 ] && break
  sleep 0.2
done
"$@"
