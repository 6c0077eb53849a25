// Command etcd is etcd's own, built from its module: the version whose client Kubernetes has.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
