package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// held is a lock that is kept alive while the command runs: a *holdfast.Handle, or a test's own.
type held interface {
	Token() int64
	Lost() <-chan struct{}    // closed when the lock must not be relied on any more
	Remaining() time.Duration // until that, unless renewed; rises with each renewal
	LostReason() holdfast.LostReason
	Err() error // after Lost: the loss in words
	Renew(context.Context) error
	Release(context.Context) error
}

func newLockCommand(a *app) *cobra.Command {
	f := &acquireFlags{ttl: 30 * time.Second, wait: untilCancelled}
	killAfter := 5 * time.Second
	cmd := &cobra.Command{
		Use:   "lock NAME [flags] -- COMMAND [ARGS...]",
		Short: "Run a command under a lock",
		Long: `Wait for a lock, run a command while it is held and kept alive, and release it.
The exit code is the command's own; 75 means that the lock was not got in time.

The command finds HOLDFAST_TOKEN (the fencing token, to hand to what it writes to)
and HOLDFAST_NAME in its environment. It runs in a process group of its own: INT,
TERM, HUP, QUIT, USR1, USR2, WINCH and TSTP are passed on to all of the group, and
the terminal is handed to it when it asks for it.

If the lock is lost the command is stopped: when it cannot be renewed, with TERM
--kill-after before the lease can end and with KILL when it is about to; when it
was revoked, with TERM at once and KILL after --kill-after. The exit code is then
76, whatever the command made of it. If holdfast itself is killed the kernel kills
the command (Linux). Processes that leave the command's group, or outlive the
command, are not under the lock.`,
		Example: `  holdfast lock nightly-report -- ./report.sh
  holdfast lock db/migrate --wait 0 -- ./migrate         # try once, 75 if held
  holdfast lock cache --shared -- ./read-cache
  holdfast lock orders/42 --wait 10s --ttl 10s -- sh -c 'curl -H "token: $HOLDFAST_TOKEN" ...'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash != 1 || len(args) < 2 {
				return usageError("holdfast lock NAME -- COMMAND ARGS", "give one name, then --, then the command")
			}
			if cmd.Flags().Changed("wait") && f.wait < 0 {
				return usageError("leave --wait out to wait for as long as it takes", "--wait must not be negative")
			}
			return a.lock(cmd.Context(), args[0], args[1:], f, killAfter)
		},
	}
	f.register(cmd, "how long to wait for it; 0: try once (default until it is got)")
	cmd.Flags().Lookup("wait").DefValue = "0s" // the usage says it in words
	cmd.Flags().DurationVar(&killAfter, "kill-after", killAfter,
		"time between TERM and KILL when the lock is lost (at most a third of ttl or lease)")
	return cmd
}

// untilCancelled as a wait limit means none.
const untilCancelled = time.Duration(-1)

// lock waits for the lock and runs the command under it.
func (a *app) lock(ctx context.Context, name string, command []string, f *acquireFlags, killAfter time.Duration) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	client, err := a.connectSDK(ctx, holdfast.WithTTL(f.ttl), holdfast.WithClientMetadata(processMetadata("lock")))
	if err != nil {
		return err
	}
	defer closeSDK(client, closeLimit)
	h, err := a.waitFor(ctx, client, name, f, signals)
	if err != nil {
		return err
	}
	if err := h.Check(); err != nil { // we may have been suspended while we waited
		return failure(exitLost, "", "%v", err)
	}
	env := append(os.Environ(), fmt.Sprintf("HOLDFAST_TOKEN=%d", h.Token()), "HOLDFAST_NAME="+name)
	c, err := startChild(command, env, asFile(a.stdin, os.Stdin), asFile(a.stdout, os.Stdout), asFile(a.stderr, os.Stderr))
	if err != nil {
		a.release(h, name)
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if f.lease > 0 {
		go renewLease(ctx, h, f.lease)
	}
	k := &keeper{lock: h, child: c, name: name, grace: graceFor(f, killAfter), stderr: a.stderr}
	status := k.run(signals)
	c.takeTerminal()
	if k.lost {
		closeSDK(client, closeLimitLost)
		return exitWith(exitLost)
	}
	a.release(h, name)
	if status.Signaled() {
		return exitWith(exitSignal + int(status.Signal()))
	}
	if code := status.ExitStatus(); code != exitOK {
		return exitWith(code)
	}
	return nil
}

// waitFor waits until the lock is held. A signal that ends processes ends the wait.
func (a *app) waitFor(ctx context.Context, client *holdfast.Client, name string, f *acquireFlags,
	signals <-chan os.Signal,
) (*holdfast.Handle, error) {
	mode, err := f.sdkMode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		h   *holdfast.Handle
		err error
	}
	results := make(chan result, 1)
	go func() {
		h, err := client.Lock(name).Mode(mode).Acquire(ctx, f.sdkOptions()...)
		results <- result{h, err}
	}()
	for {
		select {
		case r := <-results:
			return r.h, r.err
		case sig := <-signals:
			switch sig {
			case syscall.SIGTSTP:
				suspendSelf()
			case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP:
				cancel()
				if r := <-results; r.err == nil {
					a.release(r.h, name)
				}
				return nil, exitWith(exitSignal + int(sig.(syscall.Signal)))
			}
		}
	}
}

// renewLease renews the lease of the lock while the command runs. A failure needs no word here: the
// time that remains tells.
func renewLease(ctx context.Context, h held, lease time.Duration) {
	ticker := time.NewTicker(lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.Lost():
			return
		case <-ticker.C:
			attempt, cancel := context.WithTimeout(ctx, lease/3)
			_ = h.Renew(attempt)
			cancel()
		}
	}
}

// asFile hands a stream on to the command as it is; a command cannot be given anything but a file.
func asFile(stream any, standard *os.File) *os.File {
	if f, ok := stream.(*os.File); ok {
		return f
	}
	return standard
}

// release gives the lock back. The command has done its work, so a failure is only worth a word.
func (a *app) release(h held, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	if err := h.Release(ctx); err != nil {
		fmt.Fprintf(a.stderr, "warning: %s could not be released and ends with its ttl: %v\n", printable(name), err)
	}
}

// graceFor is the time between TERM and KILL: as asked, but never so long that an ordinary renewal
// (each third of the ttl) would come too late to prevent the TERM.
func graceFor(f *acquireFlags, killAfter time.Duration) time.Duration {
	grace := min(killAfter, f.ttl/3)
	if f.lease > 0 {
		grace = min(grace, f.lease/3)
	}
	if f.maxHold > 0 {
		grace = min(grace, f.maxHold/3)
	}
	return max(grace, 0)
}

// keeper stands between a held lock and the command that relies on it.
type keeper struct {
	lock   held
	child  *child
	name   string
	grace  time.Duration
	stderr io.Writer

	lost     bool      // the command was, or is being, stopped because of the lock
	killTime time.Time // when to kill it, once the lock is gone; zero before
}

// run passes signals on until the command ends, and ends it before the lock does.
func (k *keeper) run(signals <-chan os.Signal) syscall.WaitStatus {
	gone := k.lock.Lost()
	timer := time.NewTimer(k.untilNext())
	defer timer.Stop()
	for {
		select {
		case status := <-k.child.states:
			if !status.Stopped() {
				return status
			}
			k.child.stopped(status.StopSignal(), k.mayGoOn)
		case sig := <-signals:
			k.child.signal(sig.(syscall.Signal))
		case <-gone:
			gone = nil
			k.afterLoss()
		case <-timer.C:
			k.onTimer()
		}
		timer.Reset(k.untilNext())
	}
}

// untilNext is the time until the keeper has to look again.
func (k *keeper) untilNext() time.Duration {
	switch {
	case !k.killTime.IsZero():
		return max(time.Until(k.killTime), 0)
	case k.lost:
		return time.Hour // Lost comes next, and brings the kill
	}
	return max(k.lock.Remaining()-k.grace, 0)
}

// onTimer warns the command when its lock was not renewed in time, and kills it when that is due.
func (k *keeper) onTimer() {
	if !k.killTime.IsZero() {
		if !time.Now().Before(k.killTime) {
			k.child.kill()
			k.killTime = time.Now().Add(time.Second) // again, for what was forked meanwhile
		}
		return
	}
	left := k.lock.Remaining()
	if k.lost || left > k.grace || k.lock.LostReason() != "" {
		return // renewed meanwhile, or lost, which is told otherwise
	}
	k.stop(fmt.Sprintf("could not be renewed and ends in %s", roundDuration(left)))
}

// stop asks the command to end.
func (k *keeper) stop(why string) {
	k.lost = true
	fmt.Fprintf(k.stderr, "error: %s %s; stopping the command\n", printable(k.name), why)
	k.child.terminate()
}

// afterLoss sets the time of the kill: at once if the lock's time is up, and after the grace if it
// was taken away, for then the next holder has it already and tokens are what protects.
func (k *keeper) afterLoss() {
	if !k.lost {
		k.stop(fmt.Sprintf("was lost: %v", k.lock.Err()))
		if k.lock.LostReason() != holdfast.LostExpired {
			k.killTime = time.Now().Add(k.grace)
			return
		}
	}
	k.killTime = time.Now()
}

// mayGoOn reports whether a suspended command may run again. If not, the loss is about to be told.
func (k *keeper) mayGoOn() bool {
	return k.lock.Remaining() > 0
}
