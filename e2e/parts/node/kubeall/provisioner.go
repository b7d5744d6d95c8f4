package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// The folder provisioner makes dynamic PersistentVolumes for the one node. A
// volume is a folder; with the class parameter "medium: memory" it is a file
// system in memory of the size that the claim asks for, so that a test can
// fill it. Both binding modes and both reclaim policies work.
const (
	provisionerName = "pitr.local/folder"
	selectedNodeKey = "volume.kubernetes.io/selected-node"
	provisionedKey  = "pv.kubernetes.io/provisioned-by"
	mediumParameter = "medium"
	resyncInterval  = 10 * time.Second
)

type provisioner struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	folder  string
	node    string
}

func provisionerCommand() *cobra.Command {
	var kubeconfig, folder, node string
	command := &cobra.Command{
		Use:   "folder-provisioner",
		Short: "Makes PersistentVolumes that are folders of one node",
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			ctx := command.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			return provision(ctx, client, folder, node)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the cluster")
	command.Flags().StringVar(&folder, "dir", "", "where the volumes' folders are made")
	command.Flags().StringVar(&node, "node", "", "name of the node that has this folder")
	return command
}

// provision looks at all claims and volumes after each change of one, and
// every ten seconds, until ctx is done.
func provision(ctx context.Context, client kubernetes.Interface, folder, node string) error {
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims()
	volumes := factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	p := &provisioner{
		client:  client,
		events:  broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: provisionerName}),
		claims:  claims.Lister(),
		volumes: volumes.Lister(),
		classes: classes.Lister(),
		folder:  folder,
		node:    node,
	}
	changed := make(chan struct{}, 1)
	note := func(any) {
		select {
		case changed <- struct{}{}:
		default: // one is pending already
		}
	}
	onChange := cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, now any) { note(now) }, DeleteFunc: note}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer(), classes.Informer()} {
		if _, err := informer.AddEventHandler(onChange); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	resync := time.NewTicker(resyncInterval)
	defer resync.Stop()
	for {
		if err := p.once(ctx); err != nil {
			klog.ErrorS(err, "Some volumes are not done and are tried again later")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-resync.C:
		}
	}
}

func (p *provisioner) once(ctx context.Context) error {
	var failures []error
	claims, err := p.claims.List(labels.Everything())
	failures = append(failures, err)
	for _, claim := range claims {
		if err := p.serve(ctx, claim); err != nil {
			p.events.Eventf(claim, core.EventTypeWarning, "ProvisioningFailed", "%v", err)
			failures = append(failures, fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err))
		}
	}
	volumes, err := p.volumes.List(labels.Everything())
	failures = append(failures, err)
	for _, volume := range volumes {
		if err := p.reclaim(ctx, volume); err != nil {
			failures = append(failures, fmt.Errorf("volume %s: %w", volume.Name, err))
		}
	}
	return errors.Join(failures...)
}

// serve makes the volume for a claim of ours that has none yet.
func (p *provisioner) serve(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case class.Provisioner != provisionerName:
		return nil
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	if waits && claim.Annotations[selectedNodeKey] == "" {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	if _, err := p.volumes.Get(name); err == nil {
		return nil
	}
	size := claim.Spec.Resources.Requests[core.ResourceStorage]
	path := filepath.Join(p.folder, name)
	if err := makeFolder(path, class.Parameters[mediumParameter] == "memory", size.Value()); err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, p.volume(name, path, claim, class), meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		p.events.Eventf(claim, core.EventTypeNormal, "ProvisioningSucceeded", "made volume %s", name)
	}
	return err
}

func makeFolder(path string, inMemory bool, size int64) error {
	if err := os.Mkdir(path, 0o777); errors.Is(err, os.ErrExist) {
		return nil // made before the last restart
	} else if err != nil {
		return err
	}
	if inMemory {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	return os.Chmod(path, 0o777) // Mkdir's mode is cut by the umask
}

func (p *provisioner) volume(name, path string, claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	onThisNode := core.NodeSelectorRequirement{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node}}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedKey: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			StorageClassName:              class.Name,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{
				{MatchExpressions: []core.NodeSelectorRequirement{onThisNode}},
			}}},
		},
	}
}

// reclaim removes a volume of ours whose claim is gone, with what is in it.
func (p *provisioner) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	ours := volume.Annotations[provisionedKey] == provisionerName && volume.Spec.Local != nil
	released := volume.Status.Phase == core.VolumeReleased && volume.DeletionTimestamp == nil
	if !ours || !released || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	path := volume.Spec.Local.Path
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err) // EINVAL: a plain folder
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
