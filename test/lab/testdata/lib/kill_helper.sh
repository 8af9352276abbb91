# Ends the helper's processes, if any run, as nothing can be caught: of the services that are named, or of both.
for service in ${@:-storage network}; do
	systemctl kill --signal=KILL --kill-whom=main "banger-$service.service" 2>/dev/null
	while systemctl is-active --quiet "banger-$service.service"; do sleep 0.1; done
done
true
