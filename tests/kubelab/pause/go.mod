// The process that holds the namespaces of a pod.
module rackwright.dev/lab/pause

go 1.26.0

tool rackwright.dev/lab/pause
